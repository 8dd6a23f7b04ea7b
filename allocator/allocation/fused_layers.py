"""Fused projections: which outputs of one linear layer are queries, keys and values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

PARTS = ("query", "key", "value")
"""The parts of a fused projection, in the order in which every group of outputs has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSlice:
    """Where a projection's outputs lie among those of linear layers that are computed together.

    The outputs of a fused layer are divided into groups of equal size, and the projection has the
    same slice of each group. A layer that is not fused is one group, all of which it has.

    Attributes:
        groups: Number of groups.
        start: First output of the slice in every group.
        stop: End of the slice in every group.
        size: Outputs in a group.
        before: Outputs of other layers before those of this one.
        after: Outputs of other layers behind those of this one.
    """

    groups: int = 1
    start: int = 0
    stop: int
    size: int
    before: int = 0
    after: int = 0

    @property
    def width(self) -> int:
        """Number of the projection's outputs."""
        return self.groups * (self.stop - self.start)

    def overlaps(self, other: OutputSlice) -> bool:
        """Whether two projections of one layer have outputs in common."""
        if (self.groups, self.size) != (other.groups, other.size):
            return True  # a part, and the layer as a whole
        return self.start < other.stop and other.start < self.stop


def place_side_by_side(widths: Iterable[int]) -> list[OutputSlice]:
    """Place whole layers of these widths one after the other."""
    widths = list(widths)
    ends, total = accumulate(widths), sum(widths)
    return [
        OutputSlice(stop=width, size=width, before=end - width, after=total - end)
        for width, end in zip(widths, ends, strict=True)
    ]


def place_beside(part: OutputSlice, layer: OutputSlice) -> OutputSlice:
    """Place a part of a layer where the layer lies beside others."""
    if part.groups > 1:
        return replace(part, before=layer.before, after=layer.after)
    # A slice of one group lies as a layer of its own would.
    before, after = layer.before + part.start, layer.after + part.size - part.stop
    return OutputSlice(stop=part.width, size=part.width, before=before, after=after)


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedLayer:
    """How an architecture fuses query, key and value.

    Attributes:
        name: End of the layer's name in the model.
        is_by_key_head: Whether every head of keys has a group: the query heads that read it, the
            key head and its value head. Otherwise all queries come before all keys, and these
            before all values.
    """

    name: str
    is_by_key_head: bool = False

    def place_parts(self, width: int, heads: int, head_size: int) -> dict[str, OutputSlice]:
        """Place query, key and value among a fused layer's outputs.

        Args:
            width: Number of the layer's outputs.
            heads: Number of query heads.
            head_size: Width of a head.

        Returns:
            Places by part; empty if a layer of this width cannot have these heads.
        """
        # Keys and values have what queries leave, one half each: as many heads or fewer.
        key_heads, rest = divmod(width - heads * head_size, 2 * head_size)
        if rest or key_heads < 1 or heads % key_heads:
            return {}
        groups = key_heads if self.is_by_key_head else 1
        sizes = [count * head_size // groups for count in (heads, key_heads, key_heads)]
        ends = accumulate(sizes)
        return {
            part: OutputSlice(groups=groups, start=end - size, stop=end, size=sum(sizes))
            for part, size, end in zip(PARTS, sizes, ends, strict=True)
        }


# By transformers' name of the architecture, because layers of one name are divided in several ways.
# tests/models/test_fused_projections.py compares every line with what the model computes.
FUSED_LAYERS: Mapping[str, FusedLayer] = {
    "bloom": FusedLayer(name="self_attention.query_key_value", is_by_key_head=True),
    "deberta": FusedLayer(name="self.in_proj", is_by_key_head=True),
    "falcon": FusedLayer(name="self_attention.query_key_value", is_by_key_head=True),
    "gpt2": FusedLayer(name="attn.c_attn"),
    "gpt_bigcode": FusedLayer(name="attn.c_attn", is_by_key_head=True),
    "gpt_neox": FusedLayer(name="attention.query_key_value", is_by_key_head=True),
    "modernbert": FusedLayer(name="attn.Wqkv"),
    "mpt": FusedLayer(name="attn.Wqkv"),
    "openai-gpt": FusedLayer(name="attn.c_attn"),
    "persimmon": FusedLayer(name="self_attn.query_key_value", is_by_key_head=True),
    "phi3": FusedLayer(name="self_attn.qkv_proj"),
}
