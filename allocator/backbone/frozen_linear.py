"""Linear layers that never train, with weights in the fastest layout for both passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from allocator.models.projections import LinearLayer, read_weight


class FrozenLinear(nn.Module):
    """`x W^T + b` with a gradient for x alone.

    On a CPU in bfloat16 the weight is kept in oneDNN's own layout, once for the forward and once
    for the backward product. Otherwise every product would convert the weight to that layout
    again, which for a small batch takes as long as the product itself.

    Args:
        weight: Shape (out features, in features), on its device and in its final precision.
        bias: Shape (out features,); None for no bias.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        self.bias = None if bias is None else bias.detach()
        self._is_packed = can_pack(weight)
        weight = weight.detach()
        self._weight = _pack_weight(weight) if self._is_packed else weight
        self._transpose = _pack_weight(weight.t()) if self._is_packed else weight.t()

    def forward(self, x: Tensor) -> Tensor:
        """Compute `x W^T + b` for x of shape (..., in features), with a gradient for x."""
        if not self._is_packed:
            return F.linear(x, self._weight, self.bias)
        # torch has no derivative for oneDNN's operator.
        product: Tensor = _PackedProduct.apply(x, self)  # type: ignore[no-untyped-call]
        return product

    def multiply(self, x: Tensor) -> Tensor:
        """Compute `x W^T + b` without a gradient."""
        if not self._is_packed:
            return F.linear(x, self._weight, self.bias)
        return _multiply_packed(x, self._weight, self.bias)

    def multiply_back(self, gradient: Tensor) -> Tensor:
        """Compute `gradient W`, the gradient of x, from that of the output."""
        if not self._is_packed:
            return F.linear(gradient, self._transpose)
        return _multiply_packed(gradient, self._transpose, None)


class _PackedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FrozenLinear) -> Tensor:
        ctx.layer = layer
        return layer.multiply(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        back: Tensor = ctx.layer.multiply_back(gradient)
        return back, None


class UpdatedProduct(torch.autograd.Function):
    """`x W^T + b + (x A) B`, where the update is added in place onto the frozen product.

    With autograd, each sum would need another tensor of the size of its output. Without these,
    packs of eight train 8% faster (median of seven alternating rounds).

    Shapes: S slots, K blocks of rows, N tokens of one slot, I input width, R bottleneck rank, O
    output width.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_SNI: Tensor,
        a_SIR: Tensor,
        b_SRO: Tensor,
        layer: FrozenLinear,
        blocks: Sequence[int] | None,
    ) -> Tensor:
        """Compute the sum.

        Args:
            ctx: Context that keeps tensors for the backward pass.
            x_SNI: Inputs.
            a_SIR: A of every slot.
            b_SRO: B of every slot.
            layer: The frozen W and b, which all slots share.
            blocks: For each slot, the number of the block of rows that its x is; the frozen product
                of a block is computed once. None if x differs between all slots.

        Returns:
            Shape (S, N, O).
        """
        ctx.layer = layer
        down_SNR = torch.bmm(x_SNI, a_SIR)
        ctx.save_for_backward(x_SNI, a_SIR, b_SRO, down_SNR)
        count = len(x_SNI) if blocks is None else max(blocks) + 1
        if blocks is None or count == len(x_SNI):
            return layer.multiply(x_SNI).baddbmm_(down_SNR, b_SRO)
        if count == 1:
            # The product of shape (N, O) broadcasts over the slots, so this sum needs a new tensor.
            return torch.baddbmm(layer.multiply(x_SNI[0]), down_SNR, b_SRO)
        # Stacked, because an index made of a list would wait for the device.
        rows_KNI = torch.stack([x_SNI[blocks.index(block)] for block in range(count)])
        product_KNO = layer.multiply(rows_KNI)
        product_SNO = torch.stack([product_KNO[block] for block in blocks])
        return product_SNO.baddbmm_(down_SNR, b_SRO)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient_SNO: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        """Compute the gradients of x, A and B; W and b have none."""
        x_SNI, a_SIR, b_SRO, down_SNR = ctx.saved_tensors
        to_down_SNR = torch.bmm(gradient_SNO, b_SRO.transpose(1, 2))
        to_x = None
        if ctx.needs_input_grad[0]:  # false below the first adapter, where nothing trains
            to_x = ctx.layer.multiply_back(gradient_SNO)
            to_x.baddbmm_(to_down_SNR, a_SIR.transpose(1, 2))
        to_a = torch.bmm(x_SNI.transpose(1, 2), to_down_SNR)
        return to_x, to_a, torch.bmm(down_SNR.transpose(1, 2), gradient_SNO), None, None


def can_pack(weight: Tensor) -> bool:
    """Whether this build of torch can keep a weight in oneDNN's layout."""
    is_suitable = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    return is_suitable and torch.backends.mkldnn.is_available() and _has_operators()


def _has_operators() -> bool:
    # Private operators of torch, which another version may lack.
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return all(hasattr(torch.ops.mkldnn, name) for name in names)


def _pack_weight(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed


def _multiply_packed(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return product


def freeze_linear_layers(model: nn.Module) -> None:
    """Replace every linear layer of a model by a `FrozenLinear`, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LinearLayer):
                setattr(parent, name, FrozenLinear(read_weight(child), child.bias))
