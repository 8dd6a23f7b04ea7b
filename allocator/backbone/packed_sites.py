"""Attaches low-rank updates to the frozen projections of a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from allocator.adapters.adapter import Pairs
from allocator.allocation import BackboneShape
from allocator.backbone.frozen_linear import FrozenLinear, UpdatedProduct
from allocator.models.projections import ATTENTION_INPUTS, find_backbone_shape, find_projections

# Shapes: S slots, N tokens of one slot, L layers (or 1, where all share one matrix), I input width,
# R bottleneck rank of all targets of a layer (the largest of all slots, zeros beyond a slot's own),
# O output width of all targets of a layer, side by side


class LayerProjections(nn.Module):
    """The projections of one layer that read the same input, frozen, as one matrix product.

    Query, key and value are called one after the other with one tensor: the first call computes
    all of them, the others take their part.

    Args:
        projections: The layer's projections, on their device and in their final precision.
    """

    def __init__(self, projections: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.widths = [projection.out_features for projection in projections]
        weight = torch.cat([projection.weight.detach() for projection in projections])
        self.linear = FrozenLinear(weight, _joined_bias(projections))
        self.reads_embeddings = False
        self.set_update(None)

    def set_update(
        self,
        pair: tuple[Tensor, Tensor] | None,
        *,
        dropout: Sequence[float] = (),
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        """Set the update of the following forward passes, and forget the last one.

        Args:
            pair: A of shape (S, I, R) and B of shape (S, R, O), or none.
            dropout: As for `PackedSites.set_updates`.
            generators: As for `PackedSites.set_updates`.
        """
        self._pair, self._dropout, self._generators = pair, dropout, generators
        self._x: Tensor | None = None
        self._parts: tuple[Tensor, ...] = ()

    def project(self, x: Tensor, index: int) -> Tensor:
        """Project x of shape (..., I) by one of the layer's projections."""
        if self._x is not x:
            self._x, self._parts = x, self(x).split(self.widths, -1)
        return self._parts[index]

    def forward(self, x: Tensor) -> Tensor:
        """Compute `x W^T + b + (x A) B`, (..., I) to (..., O), the rows of x slot after slot."""
        if self._pair is None:
            unchanged: Tensor = self.linear(x)
            return unchanged
        a_SIR, b_SRO = self._pair
        x_SNI = x.reshape(a_SIR.shape[0], -1, x.shape[-1])
        if any(self._dropout):
            down_SNR = torch.bmm(self._drop(x_SNI), a_SIR)
            return torch.baddbmm(self.linear(x_SNI), down_SNR, b_SRO).view(*x.shape[:-1], -1)
        # What the embeddings give, normalised or not, is the same for all slots.
        updated: Tensor = UpdatedProduct.apply(  # type: ignore[no-untyped-call]
            x_SNI, a_SIR, b_SRO, self.linear, self.reads_embeddings
        )
        return updated.view(*x.shape[:-1], -1)

    def _drop(self, x_SNI: Tensor) -> Tensor:
        slots = zip(x_SNI, self._dropout, self._generators, strict=True)
        return torch.stack([_drop_inputs(*slot) for slot in slots])


def _drop_inputs(x_NI: Tensor, dropout: float, generator: torch.Generator) -> Tensor:
    """Drop a fraction of the inputs of one slot, and scale the others so that their sum stays."""
    if not dropout:
        return x_NI  # and its generator stays as it is
    keep_NI = torch.empty_like(x_NI).bernoulli_(1 - dropout, generator=generator)
    return x_NI * keep_NI / (1 - dropout)


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
        return self._layer[0].project(x, self._index)


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteGroup:
    """Targets that read one input, in every layer.

    Attributes:
        targets: Their indices.
        layers: Their projections, layer by layer.
    """

    targets: Sequence[int]
    layers: Sequence[LayerProjections]


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedSites:
    """The adapted projections of one model.

    Attributes:
        shape: The numbers of the backbone.
        groups: Its sites, by what they read.
    """

    shape: BackboneShape
    groups: Sequence[SiteGroup]

    def set_updates(
        self,
        pack: Sequence[Pairs],
        *,
        dropout: Sequence[float] = (),
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        """Let the following forward passes add these updates, or none.

        Args:
            pack: The updates of every slot. Inputs must then hold as many copies of their rows,
                slot after slot.
            dropout: For every slot the fraction of a site's inputs that its update does not see;
                empty for none, as in an evaluation.
            generators: For every slot the source of its dropout's randomness, on the device of the
                model; needed where a slot has dropout.
        """
        for group in self.groups:
            pairs = _joined(pack, group) if pack else [None] * len(group.layers)
            for projections, pair in zip(group.layers, pairs, strict=True):
                projections.set_update(pair, dropout=dropout, generators=generators)


def _joined(pack: Sequence[Pairs], group: SiteGroup) -> list[tuple[Tensor, Tensor]]:
    """Join the slots' updates of some targets: a pair (S, I, R) and (S, R, O) a layer."""
    layers, dtype = len(group.layers), group.layers[0].linear.dtype
    a_s, b_s = zip(*(pairs.join_targets(group.targets) for pairs in pack), strict=True)
    rank = max(a_LIR.shape[2] for a_LIR in a_s)
    a_LSIR = _stacked([F.pad(a_LIR, (0, rank - a_LIR.shape[2])) for a_LIR in a_s])
    b_LSRO = _stacked([F.pad(b_LRO, (0, 0, 0, rank - b_LRO.shape[1])) for b_LRO in b_s])
    a_layers, b_layers = (
        (list(m.unbind()) if m.shape[0] > 1 else [m[0]] * layers)
        for m in (a_LSIR.to(dtype), b_LSRO.to(dtype))
    )
    return list(zip(a_layers, b_layers, strict=True))


def _stacked(slots: Sequence[Tensor]) -> Tensor:
    layers = max(matrices.shape[0] for matrices in slots)
    return torch.stack([matrices.expand(layers, -1, -1) for matrices in slots], dim=1)


def _joined_bias(projections: Sequence[nn.Linear]) -> Tensor | None:
    """Join biases; one that is missing beside others is zero, as BEiT's of its keys."""
    if all(projection.bias is None for projection in projections):
        return None
    return torch.cat(
        [
            p.weight.new_zeros(p.out_features) if p.bias is None else p.bias.detach()
            for p in projections
        ]
    )


def adapt_projections(
    model: PreTrainedModel, targets: Sequence[str], *, joins: bool = True
) -> PackedSites:
    """Replace every adapted projection of a model by one that can be updated.

    Args:
        model: The backbone.
        targets: The adapted projections.
        joins: Whether query, key and value are one product, and the first of them may be shared by
            slots; otherwise each is computed from what it is given.

    Raises:
        ModelError: If projections are missing, or are not all of one shape.
    """
    shape = find_backbone_shape(model, targets)
    found = find_projections(model, targets)
    is_joined = [joins and target in ATTENTION_INPUTS for target in targets]
    together = [i for i, joined in enumerate(is_joined) if joined]
    alone = [[i] for i, joined in enumerate(is_joined) if not joined]
    # Where layers share their weights, the first one reads more than the embeddings.
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    is_first_once = len(found) == layers
    groups = []
    for indices in [together, *alone] if together else alone:
        joined = [LayerProjections([layer[i][1] for i in indices]) for layer in found]
        joined[0].reads_embeddings = indices is together and is_first_once
        groups.append(SiteGroup(targets=indices, layers=joined))
        for layer, projections in zip(found, joined, strict=True):
            for position, i in enumerate(indices):
                parent, _, child = layer[i][0].rpartition(".")
                setattr(
                    model.get_submodule(parent), child, AdaptedProjection(projections, position)
                )
    return PackedSites(shape=shape, groups=groups)
