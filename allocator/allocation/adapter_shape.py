"""The shape of an adapter: everything about it but its ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from allocator.allocation.constructions import (
    BackboneShape,
    Construction,
    Mode,
    TensorShape,
    make_tensor_shape,
)
from allocator.allocation.factorizations import FACTORIZATIONS, Counts, Factorization, Flags, Ranks
from allocator.config import AdapterConfig
from allocator.errors import SpaceError


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterShape:
    """A construction and a factorization on one backbone, which its ranks turn into an adapter.

    Attributes:
        construction: How sites are stacked into tensors.
        factorization: How each tensor is factorized.
        backbone: The numbers of the backbone.
        full_modes: Tucker modes that are not compressed: identity factor, not trained, not counted.
        zero_mode: Mode whose part of a CP or a tensor train starts at zero, that of the output
            side where it is not given; None for Tucker, whose core does.

    Raises:
        SpaceError: If construction and factorization do not go together, or a mode is not one of
            the construction's.
    """

    construction: Construction
    factorization: Factorization
    backbone: BackboneShape
    full_modes: frozenset[Mode] = frozenset()
    zero_mode: Mode | None = None

    def __post_init__(self) -> None:
        if (self.construction == "matrix") != (self.factorization == "matrix"):
            raise SpaceError(
                "construction and factorization must both be 'matrix' or neither, "
                f"got {self.construction!r} with {self.factorization!r}"
            )
        if self.full_modes and self.factorization != "tucker":
            raise SpaceError(f"only Tucker modes can be full, got {self.factorization!r}")
        if strangers := sorted(self.full_modes - set(self.tensor.dims)):
            raise SpaceError(
                f"full modes must be modes of {self.construction} "
                f"({', '.join(self.tensor.dims)}), got {', '.join(strangers)}"
            )
        self._settle_zero_mode()

    def _settle_zero_mode(self) -> None:
        default = FACTORIZATIONS[self.factorization].zero_mode(self.tensor)
        if self.zero_mode is None:
            object.__setattr__(self, "zero_mode", default)
            return
        choices = tuple(self.tensor.dims) if self.factorization in ("cp", "tt") else (default,)
        if self.zero_mode not in choices:
            rule = ", ".join(mode for mode in choices if mode) or "left out: a core starts at zero"
            raise SpaceError(
                f"zero_mode of {self.construction} ({self.factorization}) must be {rule}, "
                f"got {self.zero_mode}"
            )

    @property
    def stated_zero_mode(self) -> Mode | None:
        """What a file says of `zero_mode`: nothing where it is the one by default."""
        default = FACTORIZATIONS[self.factorization].zero_mode(self.tensor)
        return None if self.zero_mode == default else self.zero_mode

    @property
    def tensor(self) -> TensorShape:
        """The tensors that are factorized."""
        return make_tensor_shape(self.construction, self.backbone)

    @property
    def rank_names(self) -> tuple[str, ...]:
        """Names of the ranks that can be chosen: modes for Tucker, `rank` or bonds otherwise."""
        names = FACTORIZATIONS[self.factorization].rank_names(self.tensor)
        return tuple(name for name in names if name not in self.full_modes)

    @property
    def rank_bounds(self) -> dict[str, int]:
        """Largest rank of each name that can add expressiveness, whatever the others are."""
        bounds = FACTORIZATIONS[self.factorization].bounds(self.tensor)
        return {name: bounds[name] for name in self.rank_names}

    @property
    def factor_modes(self) -> tuple[Mode, ...]:
        """Modes with a trained factor that does not start at zero."""
        return tuple(m for m in self.tensor.dims if m not in self.full_modes | {self.zero_mode})

    def count(self, ranks: Ranks) -> Counts:
        """Count trainable parameters, without building anything.

        Args:
            ranks: One integer, or one integer array, per name in `rank_names`; arrays broadcast.

        Returns:
            Trainable parameters of the adapter, of the broadcast shape of the ranks.
        """
        formulas = FACTORIZATIONS[self.factorization]
        full = frozenset[str](self.full_modes)
        return self.tensor.copies * formulas.num_parameters(self.tensor, full, self._all(ranks))

    def num_parameters(self, ranks: Mapping[str, int]) -> int:
        """Count the trainable parameters of one adapter, without building it."""
        return int(self.count(ranks))

    def is_usable(self, ranks: Ranks) -> Flags:
        """Tell whether every rank can add expressiveness: none exceeds its mode or the others."""
        formulas = FACTORIZATIONS[self.factorization]
        return formulas.is_usable(self.tensor, frozenset[str](self.full_modes), self._all(ranks))

    def check(self, ranks: Mapping[str, int]) -> None:
        """Refuse ranks that do not name this shape's modes or are not positive integers.

        Raises:
            SpaceError: Naming the rank, the rule and the value.
        """
        if set(ranks) != set(self.rank_names):
            raise SpaceError(
                f"ranks of {self.construction} ({self.factorization}) must be given for "
                f"{', '.join(self.rank_names)}, got {', '.join(ranks) or 'none'}"
            )
        for name, rank in ranks.items():
            if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
                raise SpaceError(f"rank of {name} must be a positive integer, got {rank!r}")

    def _all(self, ranks: Ranks) -> Ranks:
        full: dict[str, int | Counts] = {mode: self.tensor.dims[mode] for mode in self.full_modes}
        return full | dict(ranks)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSpec:
    """Everything that decides an adapter's fresh values, picklable and cheap to send."""

    shape: AdapterShape
    config: AdapterConfig
