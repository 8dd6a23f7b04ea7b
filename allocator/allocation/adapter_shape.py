"""The shape of an adapter: everything but ranks that determines its parameter counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from allocator.allocation.constructions import (
    BackboneShape,
    Construction,
    Mode,
    TensorShape,
    make_tensor_shape,
)
from allocator.allocation.factorizations import (
    FACTORIZATIONS,
    Counts,
    Factorization,
    Flags,
    Formulas,
    PartCounts,
    Ranks,
)
from allocator.config import AdapterConfig
from allocator.errors import SpaceError


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterShape:
    """A construction and a factorization on one backbone; ranks complete it to an adapter.

    Attributes:
        construction: How sites are stacked into tensors.
        factorization: How each tensor is factorized.
        backbone: The sizes of the backbone.
        full_modes: Tucker modes that are not compressed. Their factor is the identity, which is
            neither trained nor counted.
        zero_mode: Mode whose factor (in a tensor train, whose core) starts at zero; by default the
            mode of the output side. None for Tucker, whose core starts at zero.

    Raises:
        SpaceError: If construction and factorization cannot be combined, a mode is not one of the
            construction's, or targets of different numbers of heads would share a tensor.
    """

    construction: Construction
    factorization: Factorization
    backbone: BackboneShape
    full_modes: frozenset[Mode] = frozenset()
    zero_mode: Mode | None = None

    def __post_init__(self) -> None:
        if (self.construction == "matrix") != self.formulas.is_of_matrices:
            raise SpaceError(
                "construction and factorization must both be 'matrix' or neither, "
                f"got {self.construction!r} with {self.factorization!r}"
            )
        if self.full_modes and not self.formulas.has_core:
            raise SpaceError(f"only Tucker modes can be full, got {self.factorization!r}")
        if unknown := sorted(self.full_modes - set(self.tensor.dims)):
            raise SpaceError(
                f"full modes must be modes of {self.construction} "
                f"({', '.join(self.tensor.dims)}), got {', '.join(unknown)}"
            )
        self._require_tensors_of_one_size()
        self._set_zero_mode()

    def _require_tensors_of_one_size(self) -> None:
        if not self.backbone.target_heads:
            return
        groups = [f"--targets {','.join(g.targets)}" for g in self.backbone.group_targets()]
        got, ways = self.backbone.describe_heads(), " or ".join(groups)
        if self.tensor.target_copies == 1:
            raise SpaceError(
                f"{self.construction} stacks all targets into one tensor, so they must have the "
                f"same number of heads, got {got}; choose a space whose tensors have one target "
                f"each, such as --space lora, or {ways}"
            )
        if full := sorted(self.full_modes & {"output", "heads"}):
            raise SpaceError(
                f"mode {full[0]} can only be full if all targets have the same number of heads, "
                f"got {got}; give it a rank, or choose {ways}"
            )

    def _set_zero_mode(self) -> None:
        default = self.formulas.zero_mode(self.tensor)
        if self.zero_mode is None:
            # Fill in the default, so that equal adapters have equal shapes.
            object.__setattr__(self, "zero_mode", default)
            return
        choices = tuple(self.tensor.dims) if self.formulas.chooses_zero_mode else (default,)
        if self.zero_mode not in choices:
            rule = ", ".join(mode for mode in choices if mode) or "left out: a core starts at zero"
            raise SpaceError(
                f"zero_mode of {self.construction} ({self.factorization}) must be {rule}, "
                f"got {self.zero_mode}"
            )

    @property
    def formulas(self) -> Formulas:
        """Counts, bounds and properties of the factorization."""
        return FACTORIZATIONS[self.factorization]

    @property
    def stated_zero_mode(self) -> Mode | None:
        """The `zero_mode` that a file has to state; None if it is the default."""
        default = self.formulas.zero_mode(self.tensor)
        return None if self.zero_mode == default else self.zero_mode

    @property
    def tensor(self) -> TensorShape:
        """The tensors that are factorized; those of the most heads if targets differ in that."""
        return make_tensor_shape(self.construction, self.backbone)

    @property
    def _tensors(self) -> list[TensorShape]:
        """All tensors, grouped by their size."""
        groups = self.backbone.group_targets()
        return [make_tensor_shape(self.construction, group) for group in groups]

    def list_target_lengths(self, mode: Mode) -> tuple[int, ...]:
        """List the length of a mode for every target; empty if it is the same for all."""
        if mode == "heads":
            return self.backbone.target_heads
        is_of_widths = mode == "output" and self.backbone.target_heads
        return self.backbone.target_widths if is_of_widths else ()

    @property
    def rank_names(self) -> tuple[str, ...]:
        """Names of the ranks that can be chosen: modes for Tucker, `rank` or bonds otherwise."""
        names = self.formulas.rank_names(self.tensor)
        return tuple(name for name in names if name not in self.full_modes)

    @property
    def rank_bounds(self) -> dict[str, int]:
        """Largest rank of each name that can add expressiveness, for any choice of the others."""
        # A rank is one for all tensors, so the smallest of them limits it.
        bounds = [self.formulas.bounds(tensor) for tensor in self._tensors]
        return {name: min(bound[name] for bound in bounds) for name in self.rank_names}

    @property
    def factor_modes(self) -> tuple[Mode, ...]:
        """Modes with a trained factor that does not start at zero."""
        return tuple(m for m in self.tensor.dims if m not in self.full_modes | {self.zero_mode})

    def count_parts(self, ranks: Ranks) -> PartCounts:
        """Count the trainable parameters of every part, without building anything.

        Args:
            ranks: One integer, or one integer array, per name in `rank_names`; arrays broadcast.

        Returns:
            Parameters of every mode's factor (in a tensor train, of every mode's core), in the
            order of modes, then those of Tucker's `core`. Full modes train nothing and are left
            out. Counts are Python integers, which cannot overflow, if all ranks are.
        """
        full, ranks = frozenset[str](self.full_modes), self._add_full_modes(ranks)
        total: PartCounts = {}
        for tensor in self._tensors:
            for part, count in self.formulas.count_parts(tensor, full, ranks).items():
                total[part] = total.get(part, 0) + tensor.copies * count
        return total

    def count_parameters(self, ranks: Ranks) -> Counts:
        """Count the trainable parameters of the whole adapter, without building anything.

        Args:
            ranks: As for `count_parts`.

        Returns:
            The sum of all parts, of the broadcast shape of the ranks.
        """
        return np.asarray(sum(self.count_parts(ranks).values()), dtype=np.int64)

    def num_parameters(self, ranks: Mapping[str, int]) -> int:
        """Count the trainable parameters of one adapter, without building it.

        The count is exact for any size, because Python's integers do not overflow.
        """
        return int(sum(self.count_parts(ranks).values()))

    def is_usable(self, ranks: Ranks) -> Flags:
        """Whether every rank can add expressiveness, given its mode and the other ranks."""
        full, ranks = frozenset[str](self.full_modes), self._add_full_modes(ranks)
        flags = [self.formulas.is_usable(tensor, full, ranks) for tensor in self._tensors]
        return np.asarray(reduce(np.logical_and, flags))

    def check_ranks(self, ranks: Mapping[str, int]) -> None:
        """Refuse ranks that do not name this shape's modes or are not positive integers.

        Raises:
            SpaceError: The message names the rank, the rule and the value.
        """
        if set(ranks) != set(self.rank_names):
            raise SpaceError(
                f"ranks of {self.construction} ({self.factorization}) must be given for "
                f"{', '.join(self.rank_names)}, got {', '.join(ranks) or 'none'}"
            )
        for name, rank in ranks.items():
            if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
                raise SpaceError(f"rank of {name} must be a positive integer, got {rank!r}")

    def _add_full_modes(self, ranks: Ranks) -> Ranks:
        full: dict[str, int | Counts] = {mode: self.tensor.dims[mode] for mode in self.full_modes}
        return full | dict(ranks)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSpec:
    """The specification of a new adapter, without ranks and seed; picklable and small."""

    shape: AdapterShape
    config: AdapterConfig
