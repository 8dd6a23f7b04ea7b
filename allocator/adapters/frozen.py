"""Linear layers that never train, laid out once for the products of both directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class FrozenLinear(nn.Module):
    """`x W^T + b` with a gradient for x alone.

    On a CPU in bfloat16 the weight is kept in oneDNN's own layout, once for the forward and once
    for the backward product; otherwise each product would bring it into that layout again, which
    for a small batch takes as long as multiplying.

    Args:
        weight: Shape (out features, in features), on its device and in its final precision.
        bias: Shape (out features,), or none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        self.bias = None if bias is None else bias.detach()
        self._is_packed = can_pack(weight)
        weight = weight.detach()
        self._weight = _packed(weight) if self._is_packed else weight
        self._transpose = _packed(weight.t()) if self._is_packed else weight.t()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x of shape (..., in features)."""
        if not self._is_packed:
            return F.linear(x, self._weight, self.bias)
        product: Tensor = _PackedProduct.apply(x, self)  # type: ignore[no-untyped-call]
        return product

    def multiply(self, x: Tensor) -> Tensor:
        """Compute `x W^T + b` without a gradient, the weight packed."""
        return _multiply(x, self._weight, self.bias)

    def multiply_back(self, gradient: Tensor) -> Tensor:
        """Compute `gradient W`, the weight packed."""
        return _multiply(gradient, self._transpose, None)


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


def can_pack(weight: Tensor) -> bool:
    """Tell whether this build of torch has oneDNN's layouts for a weight."""
    is_suitable = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    return is_suitable and torch.backends.mkldnn.is_available() and _has_operators()


def _has_operators() -> bool:
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return all(hasattr(torch.ops.mkldnn, name) for name in names)


def _packed(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return packed


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return product
