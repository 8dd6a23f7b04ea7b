import runpy
from typing import Literal

import numpy as np
import pytest
import torch

from allocator.adapters import build
from allocator.adapters.build import build_adapter, make_parameter_groups
from allocator.allocation import factorizations
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import MODES, BackboneShape, Construction, Mode
from allocator.allocation.factorizations import Factorization
from allocator.config import AdapterConfig

BACKBONE = BackboneShape(d_in=12, heads=2, head_size=3, layers=4)
NONE: frozenset[Mode] = frozenset()


def spec(
    construction: Construction,
    factorization: Factorization = "tucker",
    full: frozenset[Mode] = NONE,
) -> AdapterSpec:
    shape = AdapterShape(
        construction=construction, factorization=factorization, backbone=BACKBONE, full_modes=full
    )
    return AdapterSpec(shape=shape, config=AdapterConfig())


def kind(construction: Construction) -> Factorization:
    return "matrix" if construction == "matrix" else "tucker"


@pytest.mark.parametrize("construction", MODES)
def test_equal_seeds_give_equal_values_and_others_do_not(construction: Construction) -> None:
    made = spec(construction, kind(construction))
    ranks = dict.fromkeys(made.shape.rank_names, 2)
    first, again, other = (build_adapter(made, ranks, seed=seed) for seed in (3, 3, 4))
    for mode, values in first.factors.items():
        assert torch.equal(values, again.factors[mode])
        assert not torch.equal(values, other.factors[mode])


def test_the_state_of_the_global_generator_decides_nothing() -> None:
    made = spec("qkv")
    ranks = dict.fromkeys(made.shape.rank_names, 2)
    torch.manual_seed(1)
    first = build_adapter(made, ranks, seed=0)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = build_adapter(made, ranks, seed=0)
    assert torch.equal(first.factors["input"], second.factors["input"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("construction", MODES)
def test_only_the_zero_part_starts_at_zero(construction: Construction) -> None:
    made = spec(construction, kind(construction))
    adapter = build_adapter(made, dict.fromkeys(made.shape.rank_names, 2), seed=0)
    assert not adapter.zero_part.any()
    assert all(values.all() for values in adapter.factors.values())


@pytest.mark.parametrize("construction", MODES)
def test_the_zero_part_and_the_factors_are_all_that_trains(construction: Construction) -> None:
    made = spec(construction, kind(construction))
    adapter = build_adapter(made, dict.fromkeys(made.shape.rank_names, 2), seed=0)
    parts = [adapter.zero_part, *adapter.factors.values()]
    assert {id(part) for part in parts} == {id(p) for p in adapter.parameters()}
    assert all(part.requires_grad for part in parts)


def test_factors_are_named_by_the_modes_that_are_not_full() -> None:
    made = spec("sites", full=frozenset({"site"}))
    adapter = build_adapter(made, {"input": 2, "output": 3}, seed=0)
    assert {mode: tuple(values.shape) for mode, values in adapter.factors.items()} == {
        "input": (1, 1, 12, 2),
        "output": (1, 1, 6, 3),
    }
    assert adapter.zero_part.shape == (1, 1, 2, 3, 12)


def test_every_part_has_the_learning_rate_that_the_allocation_gives_it() -> None:
    made = spec("att_qkv")
    ranks = dict.fromkeys(made.shape.rank_names, 2)
    adapter = build_adapter(made, ranks, seed=0)
    allocation = Allocation(
        ranks=ranks,
        learning_rate=2e-3,
        core_lr_multiplier=8.0,
        lr_multipliers={"heads": 0.5, "qkv": 3.0},
    )
    rates = {
        id(parameter): group["lr"]
        for group in make_parameter_groups(adapter, allocation)
        for parameter in group["params"]
    }
    assert rates[id(adapter.zero_part)] == pytest.approx(1.6e-2)
    found = {mode: rates[id(values)] for mode, values in adapter.factors.items()}
    assert found == pytest.approx({"input": 2e-3, "head_dim": 2e-3, "heads": 1e-3, "qkv": 6e-3})
    assert len(rates) == len(list(adapter.parameters()))


def test_loras_multiplier_is_on_b() -> None:
    made = spec("matrix", "matrix")
    adapter = build_adapter(made, {"rank": 2}, seed=0)
    allocation = Allocation(ranks={"rank": 2}, learning_rate=1e-3, core_lr_multiplier=16.0)
    b, a = make_parameter_groups(adapter, allocation)
    assert b["params"] == [adapter.zero_part]
    assert b["lr"] == pytest.approx(1.6e-2)
    assert a["params"] == [adapter.factors["input"]]
    assert a["lr"] == pytest.approx(1e-3)


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
def test_every_part_is_built_as_large_as_it_is_counted(
    construction: Construction, factorization: Factorization, full: frozenset[Mode]
) -> None:
    made = spec(construction, factorization, full)
    rng = np.random.default_rng(0)
    for _ in range(5):
        ranks = {name: int(rng.integers(1, 6)) for name in made.shape.rank_names}
        adapter = build_adapter(made, ranks, seed=0)
        built = {adapter.shape.zero_mode or "core": adapter.zero_part, **adapter.factors}
        counted = made.shape.count_parts(ranks)
        assert counted == {part: values.numel() for part, values in built.items()}
        assert sum(counted.values()) == made.shape.num_parameters(ranks)


def test_a_factorization_without_a_module_fails_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = Literal["tucker", "cp", "tt", "matrix", "vera"]
    monkeypatch.setattr(factorizations, "Factorization", declared)
    with pytest.raises(TypeError, match=r"^_MODULES must have an entry for vera; add it$"):
        runpy.run_path(build.__file__)
