"""The adapted projections of a frozen transformer, with the updates of many slots at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from allocator.adapters.adapter import Pairs
from allocator.allocation.constructions import BackboneShape
from allocator.allocation.fused_layers import Place, place_beside, place_side_by_side
from allocator.backbone.frozen_linear import FrozenLinear, UpdatedProduct
from allocator.models.projections import (
    ATTENTION_INPUTS,
    LinearLayer,
    Site,
    find_backbone_shape,
    find_projections,
    read_weight,
)

# Shapes: S slots, N tokens of one slot, L layers (1 if all share one matrix), I input width, R
# bottleneck rank and O output width, each of all targets of a layer together. R is the largest of
# all slots; slots with a smaller one are padded with zeros.


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


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteGroup:
    """Targets that read the same input, in every layer.

    Attributes:
        targets: Indices of the targets.
        places: Where the outputs of each of them lie among those of a layer's projections; empty if
            one after the other.
        layers: Projections of these targets, layer by layer.
    """

    targets: Sequence[int]
    places: Sequence[Place]
    layers: Sequence[LayerProjections]


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedSites:
    """The adapted projections of one model.

    Attributes:
        shape: Sizes of the backbone.
        groups: The sites, grouped by the input that they read.
    """

    shape: BackboneShape
    groups: Sequence[SiteGroup]

    def set_updates(
        self,
        pack: Sequence[Pairs],
        *,
        dropout: Sequence[float] = (),
        generators: Sequence[torch.Generator] = (),
        widths: Sequence[int | None] | None = None,
    ) -> None:
        """Set the updates of the following forward passes in place of the last ones.

        Args:
            pack: The updates of every slot; empty for none. The inputs of a pass must hold one copy
                of the batch for every slot, slot after slot.
            dropout: For every slot, the fraction of a site's inputs that its update does not see;
                empty for none, as in an evaluation.
            generators: For every slot, the source of its dropout's randomness, on the device of the
                model; needed if a slot has dropout.
            widths: For every slot, the number of columns of tokens that its rows have without other
                rows beside them: dropout draws for these alone, so that it does not depend on how
                far the rows are padded. None, for one slot or for all, draws for all columns.
        """
        for group in self.groups:
            pairs = _join_slots(pack, group) if pack else [None] * len(group.layers)
            for projections, pair in zip(group.layers, pairs, strict=True):
                projections.set_update(pair, dropout=dropout, generators=generators, widths=widths)

    def set_blocks(self, blocks: Sequence[int]) -> None:
        """Set which slots read the same rows in the following forward passes.

        Args:
            blocks: For each slot, the number of the block of rows that it reads, from 0.
        """
        for group in self.groups:
            for projections in group.layers:
                projections.blocks = blocks


def _join_slots(pack: Sequence[Pairs], group: SiteGroup) -> list[tuple[Tensor, Tensor]]:
    """Join the slots' updates of a group to pairs of A (S, I, R) and B (S, R, O) by layer."""
    layers, dtype = len(group.layers), group.layers[0].linear.dtype
    a_s, b_s = zip(
        *(pairs.join_targets(group.targets, group.places) for pairs in pack), strict=True
    )
    # Zeros beyond a slot's own rank add nothing to its output, and the backward pass of padding
    # drops their gradients, so the slot trains as without padding.
    rank = max(a_LIR.shape[2] for a_LIR in a_s)
    a_LSIR = _stack_slots([F.pad(a_LIR, (0, rank - a_LIR.shape[2])) for a_LIR in a_s])
    b_LSRO = _stack_slots([F.pad(b_LRO, (0, 0, 0, rank - b_LRO.shape[1])) for b_LRO in b_s])
    # Cast and divide into layers here, once per pass, not in each layer.
    a_layers, b_layers = (
        (list(m.unbind()) if m.shape[0] > 1 else [m[0]] * layers)
        for m in (a_LSIR.to(dtype), b_LSRO.to(dtype))
    )
    return list(zip(a_layers, b_layers, strict=True))


def _stack_slots(slots: Sequence[Tensor]) -> Tensor:
    """Stack matrices of shape (L, ., .) to (L, S, ., .); L is 1 if it is 1 in all slots."""
    layers = max(matrices.shape[0] for matrices in slots)
    return torch.stack([matrices.expand(layers, -1, -1) for matrices in slots], dim=1)


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


def adapt_projections(
    model: PreTrainedModel, targets: Sequence[str], *, joins: bool = True
) -> PackedSites:
    """Replace every adapted linear layer of a model, in place, by one that can be updated.

    Args:
        model: The backbone.
        targets: The adapted projections.
        joins: Whether query, key and value are computed as one product, which slots share in the
            first layer; otherwise each linear layer is computed separately from its input.

    Raises:
        ModelError: If projections are missing, or have inputs of different widths.
    """
    shape = find_backbone_shape(model, targets)
    projections = find_projections(model, targets)
    together, *alone = _group_targets(projections[0], targets, joins=joins)
    # If layers share their weights (ALBERT), the first one also reads the output of others, and
    # fewer layers are found than the model has.
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    has_own_first_layer = len(projections) == layers
    groups = []
    for indices in [together, *alone] if together else alone:
        group = _adapt_group(model, [[layer[i] for i in indices] for layer in projections], indices)
        group.layers[0].reads_embeddings = indices is together and has_own_first_layer
        groups.append(group)
    return PackedSites(shape=shape, groups=groups)


def _group_targets(
    layer: Sequence[Site], targets: Sequence[str], *, joins: bool
) -> Iterator[list[int]]:
    """Divide the targets into those that are computed together.

    Yields:
        First the indices of query, key and value, or none if they are not joined; then those of
        every other linear layer, which are several if it is a fused one.
    """
    is_joined = [joins and target in ATTENTION_INPUTS for target in targets]
    yield [i for i, joined in enumerate(is_joined) if joined]
    names = [name for name, _ in layer]
    alone = [i for i, joined in enumerate(is_joined) if not joined]
    for own in dict.fromkeys(names[i] for i in alone):
        yield [i for i in alone if names[i] == own]


def _adapt_group(
    model: PreTrainedModel, layers: Sequence[Sequence[Site]], indices: Sequence[int]
) -> SiteGroup:
    """Replace the linear layers of a group of targets, layer by layer."""
    adapted = []
    for sites in layers:
        linears = {name: projection.layer for name, projection in sites}
        adapted.append(LayerProjections(list(linears.values())))
        for position, name in enumerate(linears):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, AdaptedLinear(adapted[-1], position))
    # All layers are divided as the first one is.
    names = list(dict.fromkeys(name for name, _ in layers[0]))
    linears_at = dict(zip(names, place_side_by_side(adapted[0].widths), strict=True))
    places = [place_beside(projection.place, linears_at[name]) for name, projection in layers[0]]
    if places == place_side_by_side(place.width for place in places):
        places = []
    return SiteGroup(targets=indices, places=places, layers=adapted)
