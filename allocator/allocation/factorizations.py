"""Parameter counts and usable ranks of every factorization.

Every function takes ranks as integers, or as integer arrays that broadcast against each other. So
the same formula counts the parameters of a single adapter and of a grid of a million. Counts of
Python integers are Python integers, which cannot overflow; counts of arrays have 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from allocator.allocation.constructions import Mode, TensorShape, require_same_names

Factorization = Literal["tucker", "cp", "tt", "matrix"]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Ranks = Mapping[str, int | Counts]
PartCounts = dict[str, int | Counts]
"""Trainable parameters by part: the name of a mode, or `CORE`."""

CORE = "core"


@dataclass(frozen=True, kw_only=True, slots=True)
class Formulas:
    """Functions and properties of a factorization, which need no adapter to be built.

    Functions that take full modes expect the lengths of these among the ranks.

    Attributes:
        rank_names: Names of the ranks, given the tensors.
        bounds: Largest rank of each name that can add expressiveness, given the tensors.
        count_parts: Trainable parameters of one tensor by part, given the tensors, the full modes
            and the ranks: those of every mode's factor (in a tensor train, of every mode's core),
            in the order of modes, then those of the Tucker core. Full modes train nothing and are
            left out.
        is_usable: Whether every rank can add expressiveness beside the others, given the same
            arguments as `count_parts`.
        zero_mode: Mode whose factor starts at zero by default; None if a core does. Lambda is the
            learning rate of the part that starts at zero divided by that of the others.
        chooses_zero_mode: Whether the factor of any other mode may start at zero instead.
        has_core: Whether a core joins the factors, as in Tucker. If so, modes may be full, a rank
            is limited by the product of the others, and the core's spectra show which ranks are
            used.
        is_of_matrices: Whether it factorizes the matrices of construction `matrix`, and not the
            tensors of the other constructions.
    """

    rank_names: Callable[[TensorShape], tuple[str, ...]]
    bounds: Callable[[TensorShape], dict[str, int]]
    count_parts: Callable[[TensorShape, frozenset[str], Ranks], PartCounts]
    is_usable: Callable[[TensorShape, frozenset[str], Ranks], Flags]
    zero_mode: Callable[[TensorShape], Mode | None]
    chooses_zero_mode: bool = False
    has_core: bool = False
    is_of_matrices: bool = False


def _find_output_mode(shape: TensorShape) -> Mode:
    return "output" if "output" in shape.dims else "head_dim"


def _convert_to_arrays(ranks: Ranks) -> dict[str, Counts]:
    return {name: np.asarray(rank, dtype=np.int64) for name, rank in ranks.items()}


def _count_tucker(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> PartCounts:
    factors: PartCounts = {
        mode: dim * ranks[mode] for mode, dim in shape.dims.items() if mode not in full
    }
    return factors | {CORE: math.prod(ranks[mode] for mode in shape.dims)}


def _is_usable_tucker(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> Flags:
    r = _convert_to_arrays(ranks)
    # A mode's unfolding of the core has as many columns as the product of the other ranks, so its
    # rank cannot be higher.
    flags = [
        (r[mode] <= dim) & (r[mode] <= math.prod(r[other] for other in shape.dims if other != mode))
        for mode, dim in shape.dims.items()
        if mode not in full  # its rank is not a choice
    ]
    return np.asarray(reduce(np.logical_and, flags))


def _count_cp(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> PartCounts:
    del full
    return {mode: dim * ranks["rank"] for mode, dim in shape.dims.items()}


def _bound_cp(shape: TensorShape) -> dict[str, int]:
    # Every tensor is a sum of rank-one terms, one for each column of its unfolding along the
    # longest mode.
    return {"rank": math.prod(shape.dims.values()) // max(shape.dims.values())}


def _make_bound_check(
    bounds: Callable[[TensorShape], dict[str, int]],
) -> Callable[[TensorShape, frozenset[str], Ranks], Flags]:
    return lambda shape, _, ranks: np.asarray(
        _convert_to_arrays(ranks)["rank"] <= bounds(shape)["rank"]
    )


def _name_bonds(shape: TensorShape) -> tuple[str, ...]:
    return tuple(f"bond_{i}" for i in range(1, len(shape.dims)))


def _bound_tt(shape: TensorShape) -> dict[str, int]:
    # A bond divides the modes of a tensor: the unfolding has as many rows as the product of the
    # modes on its left, and as many columns as that on its right (Oseledets 2011, theorem 2.1).
    dims = list(shape.dims.values())
    return {
        name: min(math.prod(dims[:i]), math.prod(dims[i:]))
        for i, name in enumerate(_name_bonds(shape), start=1)
    }


def _count_tt(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> PartCounts:
    del full
    bonds = pairwise([1, *(ranks[name] for name in _name_bonds(shape)), 1])
    return {
        mode: left * dim * right
        for (mode, dim), (left, right) in zip(shape.dims.items(), bonds, strict=True)
    }


def _is_usable_tt(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> Flags:
    del full
    r = _convert_to_arrays(ranks)
    one = np.asarray(1, dtype=np.int64)
    bonds = [one, *(r[name] for name in _name_bonds(shape)), one]
    dims = list(shape.dims.values())
    # Bond i lies between cores i - 1 and i; its rank is at most that of either core's unfolding.
    flags = [
        (bonds[i] <= bonds[i - 1] * dims[i - 1]) & (bonds[i] <= dims[i] * bonds[i + 1])
        for i in range(1, len(dims))
    ]
    return np.asarray(reduce(np.logical_and, flags))


def _bound_matrix(shape: TensorShape) -> dict[str, int]:
    return {"rank": min(shape.dims.values())}


FACTORIZATIONS: Mapping[Factorization, Formulas] = {
    "tucker": Formulas(
        rank_names=lambda shape: tuple(shape.dims),
        bounds=lambda shape: {str(mode): dim for mode, dim in shape.dims.items()},
        count_parts=_count_tucker,
        is_usable=_is_usable_tucker,
        zero_mode=lambda _: None,
        has_core=True,
    ),
    "cp": Formulas(
        rank_names=lambda _: ("rank",),
        bounds=_bound_cp,
        count_parts=_count_cp,
        is_usable=_make_bound_check(_bound_cp),
        zero_mode=_find_output_mode,
        chooses_zero_mode=True,
    ),
    "tt": Formulas(
        rank_names=_name_bonds,
        bounds=_bound_tt,
        count_parts=_count_tt,
        is_usable=_is_usable_tt,
        zero_mode=_find_output_mode,
        chooses_zero_mode=True,
    ),
    # LoRA is a CP of two modes: A and B hold one factor each.
    "matrix": Formulas(
        rank_names=lambda _: ("rank",),
        bounds=_bound_matrix,
        count_parts=_count_cp,
        is_usable=_make_bound_check(_bound_matrix),
        zero_mode=_find_output_mode,
        is_of_matrices=True,
    ),
}

require_same_names("FACTORIZATIONS", FACTORIZATIONS, get_args(Factorization))
