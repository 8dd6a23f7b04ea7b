"""Frozen linear layers that read the same input, with the updates of many slots at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from allocator.backbone.frozen_linear import FrozenLinear, UpdatedProduct
from allocator.models.projections import LinearLayer, read_weight

# Shapes: S slots, N tokens of one slot, I input width, R bottleneck rank and O output width, R and
# O of all linear layers together. R is the largest of all slots; slots with a smaller one are
# padded with zeros.


class LayerProjections(nn.Module):
    """The frozen linear layers of one layer that read the same input, as one matrix product.

    A model calls query, key and value one after the other with the same tensor: the first call
    computes the outputs of all three, the others look theirs up. A fused layer is one of them.

    Args:
        linears: The linear layers, on their device and in their final precision.

    Attributes:
        linear: The concatenated frozen weights of all linear layers.
        reads_embeddings: Whether the input is always the embeddings. These are the same for all
            slots that read the same rows, and so is their frozen product.
        blocks: As for `PackedSites.set_blocks`.
        widths: Output width of every linear layer.
    """

    def __init__(self, linears: Sequence[LinearLayer]) -> None:
        super().__init__()
        weights = [read_weight(linear).detach() for linear in linears]
        self.widths = [weight.shape[0] for weight in weights]
        self.linear = FrozenLinear(torch.cat(weights), _join_biases(linears))
        self.reads_embeddings = False
        self.blocks: Sequence[int] | None = None
        self.set_update(None)

    def set_update(
        self,
        pair: tuple[Tensor, Tensor] | None,
        *,
        dropout: Sequence[float] = (),
        generators: Sequence[torch.Generator] = (),
        widths: Sequence[int | None] | None = None,
    ) -> None:
        """Set the updates of the following forward passes in place of the last ones.

        Args:
            pair: A of shape (S, I, R) and B of shape (S, R, O); None for no update.
            dropout: As for `PackedSites.set_updates`.
            generators: As for `PackedSites.set_updates`.
            widths: As for `PackedSites.set_updates`.
        """
        self._pair, self._dropout, self._generators = pair, dropout, generators
        self._widths = widths or [None] * len(dropout)
        # The same input may come again, but the outputs belong to the previous updates.
        self._x: Tensor | None = None
        self._outputs: tuple[Tensor, ...] = ()

    def project(self, x: Tensor, index: int) -> Tensor:
        """Project x of shape (..., I) by the linear layer at `index`."""
        if self._x is not x:  # compares objects, because comparing values would wait for the device
            self._x, self._outputs = x, self(x).split(self.widths, -1)
        return self._outputs[index]

    def forward(self, x: Tensor) -> Tensor:
        """Compute `x W^T + b + (x A) B` of all linear layers.

        Args:
            x: Shape (..., I), with the rows of one slot after those of another.

        Returns:
            Shape (..., O).
        """
        if self._pair is None:
            unchanged: Tensor = self.linear(x)
            return unchanged
        a_SIR, b_SRO = self._pair
        x_SNI = x.reshape(a_SIR.shape[0], -1, x.shape[-1])
        if any(self._dropout):
            # The update and the frozen product have different inputs, so `UpdatedProduct`, which
            # has one input for both, cannot be used.
            dropped_SNI = self._drop_inputs(x.unflatten(0, (len(a_SIR), -1))).view_as(x_SNI)
            down_SNR = torch.bmm(dropped_SNI, a_SIR)
            return torch.baddbmm(self.linear(x_SNI), down_SNR, b_SRO).view(*x.shape[:-1], -1)
        updated: Tensor = UpdatedProduct.apply(  # type: ignore[no-untyped-call]
            x_SNI, a_SIR, b_SRO, self.linear, self.blocks if self.reads_embeddings else None
        )
        return updated.view(*x.shape[:-1], -1)

    def _drop_inputs(self, x: Tensor) -> Tensor:
        # Slot by slot, so that each draws from its own generator, as if it trained alone.
        slots = zip(x, self._dropout, self._generators, self._widths, strict=True)
        return torch.stack([_drop_slot_inputs(*slot) for slot in slots])


def _drop_slot_inputs(
    x: Tensor, dropout: float, generator: torch.Generator, width: int | None
) -> Tensor:
    """Drop a fraction of one slot's inputs and scale the others, so that their mean is kept.

    Args:
        x: Shape (rows, ..., I).
        dropout: Fraction of the inputs to drop.
        generator: Source of randomness.
        width: Number of columns that have tokens; the others are kept. None for all.
    """
    if not dropout:
        return x  # draw nothing, as if no slot had dropout
    # Some models lay all tokens one below the other, without columns.
    tokens = x[:, :width] if x.dim() > 2 else x
    keep = x.new_empty(tokens.shape).bernoulli_(1 - dropout, generator=generator)
    dropped = tokens * keep / (1 - dropout)
    return dropped if tokens.shape == x.shape else torch.cat([dropped, x[:, width:]], dim=1)


class AdaptedLinear(nn.Module):
    """A replacement for one linear layer in a model.

    Args:
        layer: The linear layers that are computed together.
        index: Index of this one among them.
    """

    def __init__(self, layer: LayerProjections, index: int) -> None:
        super().__init__()
        self._layer = (layer,)  # in a tuple, so that it is not a submodule of every one
        self._index = index

    def forward(self, x: Tensor) -> Tensor:
        """Project x of shape (..., I) to (..., width of this linear layer)."""
        return self._layer[0].project(x, self._index)


def _join_biases(linears: Sequence[LinearLayer]) -> Tensor | None:
    """Join biases; zeros stand for one that is missing, as for BEiT's keys."""
    if all(linear.bias is None for linear in linears):
        return None
    return torch.cat(
        [
            linear.weight.new_zeros(read_weight(linear).shape[0])
            if linear.bias is None
            else linear.bias.detach()
            for linear in linears
        ]
    )
