"""Where in an adapter its parameters are: in the factor of each mode, and in the core."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.factorizations import Factorization

CORE = "core"
Parts = dict[str, int]


def part_parameters(shape: AdapterShape, ranks: Mapping[str, int]) -> Parts:
    """Count the trainable parameters of every part of one adapter, without building it.

    Returns:
        Parameters by mode, in the order of modes: those of its factor, or, in a tensor train, of
        the core that carries it. Then `core`, of Tucker. A full mode trains nothing and is left
        out. They add up to `shape.num_parameters(ranks)`.
    """
    counts = _OF_ONE_TENSOR[shape.factorization](shape, ranks)
    return {part: shape.tensor.copies * count for part, count in counts.items()}


def _tucker(shape: AdapterShape, ranks: Mapping[str, int]) -> Parts:
    dims = shape.tensor.dims
    factors = {str(mode): dims[mode] * ranks[mode] for mode in dims if mode in ranks}
    return {**factors, CORE: math.prod(ranks.get(mode, dim) for mode, dim in dims.items())}


def _cp(shape: AdapterShape, ranks: Mapping[str, int]) -> Parts:
    return {str(mode): dim * ranks["rank"] for mode, dim in shape.tensor.dims.items()}


def _tt(shape: AdapterShape, ranks: Mapping[str, int]) -> Parts:
    bonds = pairwise([1, *(ranks[name] for name in shape.rank_names), 1])
    dims = shape.tensor.dims.items()
    return {
        str(mode): left * dim * right
        for (mode, dim), (left, right) in zip(dims, bonds, strict=True)
    }


_OF_ONE_TENSOR: Mapping[Factorization, Callable[[AdapterShape, Mapping[str, int]], Parts]] = {
    "tucker": _tucker,
    "cp": _cp,
    "tt": _tt,
    "matrix": _cp,
}
