"""Parameters of every part, counted from numbers, against adapters that are built."""

import numpy as np
import pytest

from allocator.adapters.build import build_adapter
from allocator.allocation import (
    MODES,
    AdapterShape,
    BackboneShape,
    Construction,
    Factorization,
    Mode,
)
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.parts import part_parameters
from allocator.config import AdapterConfig

BACKBONE = BackboneShape(d_in=12, heads=2, head_size=3, layers=4)
NONE: frozenset[Mode] = frozenset()
KINDS: list[tuple[Construction, Factorization, frozenset[Mode]]] = [
    ("matrix", "matrix", NONE),
    ("sites", "tucker", frozenset({"site"})),
    *[
        (construction, factorization, NONE)
        for construction in MODES
        for factorization in ("tucker", "cp", "tt")
        if construction != "matrix"
    ],
]


@pytest.mark.parametrize(("construction", "factorization", "full"), KINDS)
def test_every_part_is_as_large_as_it_is_built(
    construction: Construction, factorization: Factorization, full: frozenset[Mode]
) -> None:
    shape = AdapterShape(
        construction=construction, factorization=factorization, backbone=BACKBONE, full_modes=full
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        ranks = {name: int(rng.integers(1, 6)) for name in shape.rank_names}
        adapter = build_adapter(AdapterSpec(shape=shape, config=AdapterConfig()), ranks, seed=0)
        built = {adapter.shape.zero_mode or "core": adapter.zero_part, **adapter.factors}
        counted = part_parameters(shape, ranks)
        assert counted == {part: values.numel() for part, values in built.items()}
        assert sum(counted.values()) == shape.num_parameters(ranks)
