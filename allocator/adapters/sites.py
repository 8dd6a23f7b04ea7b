"""Attaches low-rank updates to the frozen projections of a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from allocator.adapters.adapter import Pairs
from allocator.adapters.projections import PROJECTION_NAMES, backbone_shape, find_projections
from allocator.allocation import BackboneShape
from allocator.errors import ModelError

# Shapes: N tokens, I input width, R bottleneck rank of all targets of a layer, O output width of
# all targets of a layer, side by side


class LayerProjections(nn.Module):
    """The projections of one layer that read the same input, frozen, as one matrix product.

    Query, key and value are called one after the other with one tensor: the first call computes
    all of them, the others take their part.

    Args:
        projections: The layer's projections, whose weights become views of one matrix.
    """

    def __init__(self, projections: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.widths = [projection.out_features for projection in projections]
        self.weight = nn.Parameter(
            torch.cat([projection.weight.detach() for projection in projections]),
            requires_grad=False,
        )
        biases = [p.bias.detach() for p in projections if p.bias is not None]
        if biases and len(biases) < len(self.widths):
            raise ModelError("adapted projections of a layer must all have a bias, or none")
        self.bias = nn.Parameter(torch.cat(biases), requires_grad=False) if biases else None
        self.pair: tuple[Tensor, Tensor] | None = None
        self.dropout = 0.0
        self.generator: torch.Generator | None = None
        self.forget()

    def forget(self) -> None:
        """Drop the last input and outputs."""
        self._x: Tensor | None = None
        self._parts: tuple[Tensor, ...] = ()

    def part(self, x: Tensor, index: int) -> Tensor:
        """Project x of shape (..., I) by one of the layer's projections."""
        if self._x is not x:
            self._x, self._parts = x, self(x).split(self.widths, -1)
        return self._parts[index]

    def forward(self, x: Tensor) -> Tensor:
        """Compute `x W^T + b + (x A) B`, (..., I) to (..., O)."""
        x_NI = x.flatten(0, -2)
        y_NO = F.linear(x_NI, self.weight, self.bias)
        if self.pair is not None:
            a_IR, b_RO = self.pair
            if self.dropout:
                keep_NI = torch.empty_like(x_NI).bernoulli_(
                    1 - self.dropout, generator=self.generator
                )
                x_NI = x_NI * keep_NI / (1 - self.dropout)
            y_NO = y_NO.addmm(x_NI @ a_IR, b_RO)
        return y_NO.view(*x.shape[:-1], -1)


class AdaptedProjection(nn.Module):
    """Stands in a model where one projection was.

    Args:
        layer: The layer's projections.
        index: Which of them this is.
    """

    def __init__(self, layer: LayerProjections, index: int) -> None:
        super().__init__()
        self._layer = (layer,)  # in a tuple, so that the layer is registered once, not per target
        self._index = index

    def forward(self, x: Tensor) -> Tensor:
        """Project x of shape (..., I) to (..., width of this projection)."""
        return self._layer[0].part(x, self._index)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sites:
    """The adapted projections of one model.

    Attributes:
        shape: The numbers of the backbone.
        groups: By layer, projections with one input: each with the indices of its targets.
    """

    shape: BackboneShape
    groups: Sequence[Sequence[tuple[LayerProjections, Sequence[int]]]]

    def use(
        self,
        pairs: Pairs | None,
        *,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Let the following forward passes add these updates, or none.

        Args:
            pairs: The updates.
            dropout: Share of a site's inputs that its update does not see; 0 for evaluation.
            generator: Source of dropout's randomness, on the device of the model.
        """
        if pairs is not None:
            dtype = self.groups[0][0][0].weight.dtype
            pairs = Pairs(a_LTIR=pairs.a_LTIR.to(dtype), b_LTRO=pairs.b_LTRO.to(dtype))
        for layer, groups in enumerate(self.groups):
            for projections, targets in groups:
                projections.forget()
                projections.dropout, projections.generator = dropout, generator
                projections.pair = None if pairs is None else pairs.side_by_side(layer, targets)


def adapt(model: PreTrainedModel, targets: Sequence[str]) -> Sites:
    """Replace every adapted projection of a model by one that can be updated.

    Raises:
        ModelError: If projections are missing, or are not all of one shape.
    """
    shape = backbone_shape(model, targets)
    # Only the inputs of attention are known to be one tensor.
    together = [i for i, target in enumerate(targets) if target in PROJECTION_NAMES]
    alone = [[i] for i, target in enumerate(targets) if target not in PROJECTION_NAMES]
    groups = []
    for found in find_projections(model, targets):
        layer = []
        for indices in [together, *alone] if together else alone:
            projections = LayerProjections([found[i][1] for i in indices])
            layer.append((projections, indices))
            for position, i in enumerate(indices):
                parent, _, child = found[i][0].rpartition(".")
                setattr(
                    model.get_submodule(parent), child, AdaptedProjection(projections, position)
                )
        groups.append(layer)
    return Sites(shape=shape, groups=groups)
