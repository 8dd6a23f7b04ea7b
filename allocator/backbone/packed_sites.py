"""The adapted projections of a frozen transformer, with the updates of many slots at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from allocator.adapters.adapter import Pairs
from allocator.allocation.constructions import BackboneShape
from allocator.allocation.fused_layers import OutputSlice, place_beside, place_side_by_side
from allocator.backbone.layer_projections import AdaptedLinear, LayerProjections
from allocator.models.projections import (
    ATTENTION_INPUTS,
    Site,
    find_backbone_shape,
    find_projections,
)

# Shapes: S slots, L layers (1 if all share one matrix), I input width, R bottleneck rank and O
# output width, the last two of all targets of a layer together. R is the largest of all slots;
# slots with a smaller one are padded with zeros.


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
    places: Sequence[OutputSlice]
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
