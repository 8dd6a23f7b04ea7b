"""Parameter counts and usable ranks of every factorization, from numbers alone.

Every function takes ranks as integers, or as integer arrays that broadcast against each other, so
that one formula counts a single adapter and a grid of a million.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import numpy.typing as npt

from allocator.allocation.constructions import Mode, TensorShape

Factorization = Literal["tucker", "cp", "tt", "matrix"]
Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Ranks = Mapping[str, int | Counts]


@dataclass(frozen=True, kw_only=True, slots=True)
class Formulas:
    """What is known of a factorization before anything is built.

    Attributes:
        rank_names: Names of the ranks, given the tensors.
        bounds: Largest rank of each name that can add expressiveness, given the tensors.
        num_parameters: Trainable parameters of one tensor.
        is_usable: Whether no rank exceeds what the others let it use.
        zero_mode: Mode whose factor starts at zero, or None where a core does; lambda is the
            learning rate of what starts at zero over that of the rest.
    """

    rank_names: Callable[[TensorShape], tuple[str, ...]]
    bounds: Callable[[TensorShape], dict[str, int]]
    num_parameters: Callable[[TensorShape, frozenset[str], Ranks], Counts]
    is_usable: Callable[[TensorShape, frozenset[str], Ranks], Flags]
    zero_mode: Callable[[TensorShape], Mode | None]


def _output_side(shape: TensorShape) -> Mode:
    return "output" if "output" in shape.dims else "head_dim"


def _product(values: list[Counts]) -> Counts:
    return reduce(np.multiply, values, np.asarray(1, dtype=np.int64))


def _arrays(ranks: Ranks) -> dict[str, Counts]:
    return {name: np.asarray(rank, dtype=np.int64) for name, rank in ranks.items()}


def _tucker_parameters(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> Counts:
    r = _arrays(ranks)
    factors = sum(
        (dim * r[mode] for mode, dim in shape.dims.items() if mode not in full), np.int64(0)
    )
    return np.asarray(factors + _product([r[mode] for mode in shape.dims]))


def _tucker_usable(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> Flags:
    r = _arrays(ranks)
    flags = [
        (r[mode] <= dim)
        & (r[mode] <= _product([r[other] for other in shape.dims if other != mode]))
        for mode, dim in shape.dims.items()
        if mode not in full  # its rank is not a choice
    ]
    return np.asarray(reduce(np.logical_and, flags))


def _cp_parameters(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> Counts:
    del full
    return np.asarray(_arrays(ranks)["rank"] * sum(shape.dims.values()))


def _cp_bounds(shape: TensorShape) -> dict[str, int]:
    # Every tensor is a sum of as many rank-one terms as its unfolding by the longest mode has rows.
    return {"rank": math.prod(shape.dims.values()) // max(shape.dims.values())}


def _rank_within_bounds(
    bounds: Callable[[TensorShape], dict[str, int]],
) -> Callable[[TensorShape, frozenset[str], Ranks], Flags]:
    return lambda shape, _, ranks: np.asarray(_arrays(ranks)["rank"] <= bounds(shape)["rank"])


def _bond_names(shape: TensorShape) -> tuple[str, ...]:
    return tuple(f"bond_{i}" for i in range(1, len(shape.dims)))


def _tt_bounds(shape: TensorShape) -> dict[str, int]:
    dims = list(shape.dims.values())
    return {
        name: min(math.prod(dims[:i]), math.prod(dims[i:]))
        for i, name in enumerate(_bond_names(shape), start=1)
    }


def _tt_bonds(shape: TensorShape, ranks: Ranks) -> list[Counts]:
    r = _arrays(ranks)
    one = np.asarray(1, dtype=np.int64)
    return [one, *(r[name] for name in _bond_names(shape)), one]


def _tt_parameters(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> Counts:
    del full
    bonds = _tt_bonds(shape, ranks)
    cores = (
        left * dim * right
        for left, dim, right in zip(bonds, shape.dims.values(), bonds[1:], strict=False)
    )
    return np.asarray(sum(cores, np.int64(0)))


def _tt_usable(shape: TensorShape, full: frozenset[str], ranks: Ranks) -> Flags:
    del full
    bonds, dims = _tt_bonds(shape, ranks), list(shape.dims.values())
    flags = [
        (bonds[i] <= bonds[i - 1] * dims[i - 1]) & (bonds[i] <= dims[i] * bonds[i + 1])
        for i in range(1, len(dims))
    ]
    return np.asarray(reduce(np.logical_and, flags))


def _matrix_bounds(shape: TensorShape) -> dict[str, int]:
    return {"rank": min(shape.dims.values())}


FACTORIZATIONS: Mapping[Factorization, Formulas] = {
    "tucker": Formulas(
        rank_names=lambda shape: tuple(shape.dims),
        bounds=lambda shape: {str(mode): dim for mode, dim in shape.dims.items()},
        num_parameters=_tucker_parameters,
        is_usable=_tucker_usable,
        zero_mode=lambda _: None,
    ),
    "cp": Formulas(
        rank_names=lambda _: ("rank",),
        bounds=_cp_bounds,
        num_parameters=_cp_parameters,
        is_usable=_rank_within_bounds(_cp_bounds),
        zero_mode=_output_side,
    ),
    "tt": Formulas(
        rank_names=_bond_names,
        bounds=_tt_bounds,
        num_parameters=_tt_parameters,
        is_usable=_tt_usable,
        zero_mode=_output_side,
    ),
    # LoRA is a CP of two modes: A and B hold one factor each.
    "matrix": Formulas(
        rank_names=lambda _: ("rank",),
        bounds=_matrix_bounds,
        num_parameters=_cp_parameters,
        is_usable=_rank_within_bounds(_matrix_bounds),
        zero_mode=_output_side,
    ),
}
