"""Constructions, which stack the updates of a backbone's sites into tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

Mode = Literal["input", "output", "head_dim", "heads", "qkv", "depth", "site"]
Construction = Literal[
    "att",
    "qkv",
    "depth",
    "att_qkv",
    "att_depth",
    "qkv_depth",
    "att_qkv_depth",
    "sites",
    "att_sites",
    "matrix",
]

# The first seven are from Marmoret et al. 2025 (arXiv 2509.19391), `sites` is from LoTR and FacT,
# `att_sites` from CaRA. Modes are in the canonical order; tensor trains follow it.
MODES: Mapping[Construction, tuple[Mode, ...]] = {
    "att": ("input", "head_dim", "heads"),
    "qkv": ("input", "output", "qkv"),
    "depth": ("input", "output", "depth"),
    "att_qkv": ("input", "head_dim", "heads", "qkv"),
    "att_depth": ("input", "head_dim", "heads", "depth"),
    "qkv_depth": ("input", "output", "qkv", "depth"),
    "att_qkv_depth": ("input", "head_dim", "heads", "qkv", "depth"),
    "sites": ("input", "output", "site"),
    "att_sites": ("input", "head_dim", "heads", "site"),
    "matrix": ("input", "output"),
}


def require_same_names(table: str, keys: Iterable[str], names: Iterable[str]) -> None:
    """Refuse a table that lacks an entry for a name, when its module is imported.

    Args:
        table: The table's name, for the message.
        keys: The table's keys.
        names: The names that its keys must be, exactly.

    Raises:
        TypeError: The message names the keys that are missing or unknown.
    """
    keys, names = set(keys), set(names)
    if missing := sorted(names - keys):
        raise TypeError(f"{table} must have an entry for {', '.join(missing)}; add it")
    if unknown := sorted(keys - names):
        raise TypeError(f"{table} has an entry for {', '.join(unknown)}, which is not declared")


require_same_names("MODES", MODES, get_args(Construction))


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneShape:
    """The sizes of a backbone that adapters depend on.

    Attributes:
        d_in: Input width of the adapted projections, the same for all.
        heads: Number of attention heads; the output of a projection is `heads * head_size` wide.
            The largest number if targets have different ones.
        head_size: Width of one head.
        layers: Number of adapted layers.
        targets: Names of the adapted projections of one layer, in the order of the `qkv` mode.
        target_heads: Number of heads of every target if they differ, as where keys and values have
            fewer than queries; empty if all have `heads`.
    """

    d_in: int
    heads: int
    head_size: int
    layers: int
    targets: tuple[str, ...] = ("query", "key", "value")
    target_heads: tuple[int, ...] = ()

    @property
    def d_out(self) -> int:
        """Output width of the adapted projections, of the widest if they differ."""
        return self.heads * self.head_size

    @property
    def target_widths(self) -> tuple[int, ...]:
        """Output width of every target."""
        heads = self.target_heads or (self.heads,) * len(self.targets)
        return tuple(count * self.head_size for count in heads)

    def group_targets(self) -> tuple[BackboneShape, ...]:
        """Divide the targets into groups of one number of heads; itself if all have the same."""
        if not self.target_heads:
            return (self,)
        groups: dict[int, list[str]] = {}
        for target, heads in zip(self.targets, self.target_heads, strict=True):
            groups.setdefault(heads, []).append(target)
        return tuple(
            replace(self, heads=heads, targets=tuple(group), target_heads=())
            for heads, group in groups.items()
        )

    def describe_heads(self) -> str:
        """Describe the number of heads in words, target by target if they differ."""
        if not self.target_heads:
            return f"{self.heads} heads"
        return ", ".join(f"{g.heads} heads ({', '.join(g.targets)})" for g in self.group_targets())


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorShape:
    """The tensors of one construction on one backbone, which all have the same modes.

    Where targets have different numbers of heads, so have their tensors.

    They form a grid: one for each layer, unless a mode runs over the layers, times one for each
    target, unless a mode runs over the targets.

    Attributes:
        dims: Length of every mode, in the canonical order of modes; the largest if it differs.
        layer_copies: Number of tensors along the layers; 1 if all layers share one.
        target_copies: Number of tensors along the targets; 1 if all targets share one.
    """

    dims: Mapping[Mode, int]
    layer_copies: int
    target_copies: int

    @property
    def copies(self) -> int:
        """Number of tensors."""
        return self.layer_copies * self.target_copies


def make_tensor_shape(construction: Construction, backbone: BackboneShape) -> TensorShape:
    """Compute the tensors that a construction makes of a backbone's sites."""
    # `site` runs over layers and targets together; the target varies fastest.
    lengths: Mapping[Mode, int] = {
        "input": backbone.d_in,
        "output": backbone.d_out,
        "head_dim": backbone.head_size,
        "heads": backbone.heads,
        "qkv": len(backbone.targets),
        "depth": backbone.layers,
        "site": len(backbone.targets) * backbone.layers,
    }
    modes = MODES[construction]
    return TensorShape(
        dims={mode: lengths[mode] for mode in modes},
        layer_copies=1 if {"depth", "site"} & set(modes) else backbone.layers,
        target_copies=1 if {"qkv", "site"} & set(modes) else len(backbone.targets),
    )
