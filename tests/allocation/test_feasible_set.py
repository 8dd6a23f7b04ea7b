import re
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from allocator.allocation import feasible_set
from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import BackboneShape, Construction
from allocator.allocation.factorizations import Factorization
from allocator.allocation.feasible_set import FeasibleSet
from allocator.errors import BudgetError

SMALL = BackboneShape(d_in=8, heads=2, head_size=3, layers=4)
ROBERTA = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
Point = tuple[int, ...]

KINDS: list[tuple[Construction, Factorization]] = [
    ("att_qkv_depth", "tucker"),
    ("sites", "tucker"),
    ("qkv", "tucker"),
    ("att", "cp"),
    ("att_qkv", "tt"),
    ("depth", "tt"),
    ("matrix", "matrix"),
]


def shape(
    construction: Construction, factorization: Factorization, backbone: BackboneShape = SMALL
) -> AdapterShape:
    return AdapterShape(construction=construction, factorization=factorization, backbone=backbone)


def ranges(adapter: AdapterShape, highest: int) -> dict[str, Sequence[int]]:
    return {name: range(1, highest + 1) for name in adapter.rank_names}


def brute_force(
    adapter: AdapterShape, choices: Mapping[str, Sequence[int]], budget: int
) -> set[Point]:
    names = adapter.rank_names
    every = (dict(zip(names, point, strict=True)) for point in product(*choices.values()))
    return {
        tuple(ranks.values())
        for ranks in every
        if adapter.num_parameters(ranks) <= budget and adapter.is_usable(ranks)
    }


def as_set(points: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None) -> set[Point]:
    assert points is not None
    found = [tuple(point) for point in points.tolist()]
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize(("construction", "factorization"), KINDS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 1.0])
def test_the_points_are_those_of_a_brute_force_enumeration(
    construction: Construction, factorization: Factorization, share: float
) -> None:
    adapter = shape(construction, factorization)
    choices = ranges(adapter, 5)
    smallest = adapter.num_parameters(dict.fromkeys(adapter.rank_names, 1))
    largest = adapter.num_parameters(dict.fromkeys(adapter.rank_names, 5))
    budget = round(smallest + share * (largest - smallest))
    found = FeasibleSet(adapter, choices, budget)
    expected = brute_force(adapter, choices, budget)
    assert found.size == len(expected)
    assert as_set(found.points) == expected


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    budget=st.integers(1, 5_000),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_any_choices_and_budget_give_the_brute_force_points(
    kind: tuple[Construction, Factorization], budget: int, seed: int, data: st.DataObject
) -> None:
    adapter = shape(*kind)
    ranks = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True)
    choices = {name: data.draw(ranks, label=name) for name in adapter.rank_names}
    expected = brute_force(adapter, choices, budget)
    if not expected:
        with pytest.raises(BudgetError):
            FeasibleSet(adapter, choices, budget)
        return
    found = FeasibleSet(adapter, choices, budget)
    assert as_set(found.points) == expected
    assert {tuple(p) for p in found.sample(5, np.random.default_rng(seed)).tolist()} <= expected


def test_a_full_mode_is_counted_and_never_listed() -> None:
    adapter = AdapterShape(
        construction="sites",
        factorization="tucker",
        backbone=SMALL,
        full_modes=frozenset({"site"}),
    )
    found = FeasibleSet(adapter, ranges(adapter, 6), 150)
    assert found.names == ("input", "output")
    # LoTR: input and output factors, and a core of its own for each of 12 sites.
    expected = {
        (i, o) for i, o in product(range(1, 7), repeat=2) if 8 * i + 6 * o + 12 * i * o <= 150
    }
    assert as_set(found.points) == expected


def test_masks_and_membership_tell_exactly_the_feasible_points() -> None:
    adapter = shape("qkv", "tucker")
    found = FeasibleSet(adapter, {"input": [1, 2, 4], "output": [1, 3], "qkv": [1, 2, 3]}, 300)
    grid = np.array(list(product(range(1, 6), repeat=3)))
    inside = as_set(found.points)
    expected = [tuple(point) in inside for point in grid.tolist()]
    assert found.is_feasible(grid).tolist() == expected
    assert [found.contains(found.point_to_ranks(point)) for point in grid] == expected


def test_counts_are_those_of_the_shape() -> None:
    adapter = shape("att_qkv", "tt")
    found = FeasibleSet(adapter, ranges(adapter, 4), 1_000)
    assert found.points is not None
    expected = [adapter.num_parameters(found.point_to_ranks(point)) for point in found.points]
    assert found.count_parameters(found.points).tolist() == expected
    assert max(expected) <= 1_000


@pytest.mark.parametrize(("construction", "factorization"), KINDS)
def test_the_smallest_and_the_largest_have_fewest_and_most_parameters(
    construction: Construction, factorization: Factorization
) -> None:
    adapter = shape(construction, factorization)
    smallest = adapter.num_parameters(dict.fromkeys(adapter.rank_names, 1))
    choices = ranges(adapter, 5)
    found = FeasibleSet(adapter, choices, 3 * smallest)
    counts = [
        adapter.num_parameters(dict(zip(adapter.rank_names, point, strict=True)))
        for point in brute_force(adapter, choices, 3 * smallest)
    ]
    for ranks, expected in (
        (found.find_smallest(), min(counts)),
        (found.find_largest(), max(counts)),
    ):
        assert found.contains(ranks)
        assert adapter.num_parameters(ranks) == expected


@pytest.mark.parametrize(("construction", "factorization"), KINDS)
@pytest.mark.parametrize("times", [1, 2, 5, 40])
def test_uniform_is_the_largest_rank_that_fits_capped_by_the_modes(
    construction: Construction, factorization: Factorization, times: int
) -> None:
    adapter = shape(construction, factorization)
    budget = times * adapter.num_parameters(dict.fromkeys(adapter.rank_names, 1))
    choices = {name: range(1, bound + 1) for name, bound in adapter.rank_bounds.items()}
    found = FeasibleSet(adapter, choices, budget)
    capped = [
        {name: min(rank, bound) for name, bound in adapter.rank_bounds.items()}
        for rank in range(1, max(adapter.rank_bounds.values()) + 1)
    ]
    fitting = [
        c for c in capped if adapter.num_parameters(c) <= budget and bool(adapter.is_usable(c))
    ]
    assert found.find_uniform() == max(fitting, key=adapter.num_parameters)


def test_uniform_on_roberta_base_at_forty_thousand_is_rank_ten_with_three_of_qkv() -> None:
    adapter = shape("att_qkv_depth", "tucker", ROBERTA)
    choices = {name: range(1, min(32, bound) + 1) for name, bound in adapter.rank_bounds.items()}
    uniform = FeasibleSet(adapter, choices, 40_000).find_uniform()
    assert uniform == {"input": 10, "head_dim": 10, "heads": 10, "qkv": 3, "depth": 10}
    eleven = {name: 3 if name == "qkv" else 11 for name in uniform}
    assert adapter.num_parameters(uniform) <= 40_000 < adapter.num_parameters(eleven)


def test_uniform_takes_the_nearest_lower_choice_where_a_rank_is_not_allowed() -> None:
    adapter = shape("qkv", "tucker")
    found = FeasibleSet(adapter, {"input": [1, 4], "output": [1, 2, 3], "qkv": [1, 2]}, 10_000)
    assert found.find_uniform() == {"input": 4, "output": 3, "qkv": 2}


def test_uniform_is_the_largest_where_no_uniform_rank_is_feasible() -> None:
    adapter = shape("qkv", "tucker")
    # Capped uniform ranks are (6, 6, 2), which costs too much, and (1, 4, 2), which wastes rank.
    found = FeasibleSet(adapter, {"input": [1, 6], "output": [4, 6], "qkv": [2]}, 600)
    assert found.find_uniform() == {"input": 6, "output": 4, "qkv": 2}


def test_a_set_beyond_the_enumeration_limit_keeps_no_points_but_its_exact_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = shape("att_qkv_depth", "tucker")
    choices = ranges(adapter, 5)
    expected = brute_force(adapter, choices, 200)
    monkeypatch.setattr(feasible_set, "ENUMERATION_LIMIT", len(expected) - 1)
    found = FeasibleSet(adapter, choices, 200)
    assert found.points is None
    assert found.size == len(expected)


@pytest.mark.parametrize("chunk", [1, 7, 2_000_000])
def test_the_size_does_not_depend_on_how_the_grid_is_walked(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = shape("qkv", "tucker")
    monkeypatch.setattr(feasible_set, "_CHUNK", chunk)
    found = FeasibleSet(adapter, ranges(adapter, 6), 400)
    assert as_set(found.points) == brute_force(adapter, ranges(adapter, 6), 400)


@pytest.mark.parametrize("limit", [10, 1_000_000])
def test_draws_are_uniform_over_all_feasible_points(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feasible_set, "ENUMERATION_LIMIT", limit)
    adapter = shape("qkv", "tucker")
    choices = ranges(adapter, 6)
    expected = sorted(brute_force(adapter, choices, 500))
    drawn = FeasibleSet(adapter, choices, 500).sample(20_000, np.random.default_rng(0))
    points, counts = np.unique(drawn, axis=0, return_counts=True)
    assert [tuple(point) for point in points.tolist()] == expected  # all of them, and no other
    assert chisquare(counts).pvalue > 0.01


def test_one_seed_gives_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasible_set, "ENUMERATION_LIMIT", 10)
    adapter = shape("qkv", "tucker")
    found = FeasibleSet(adapter, ranges(adapter, 6), 500)
    first, again, other = (found.sample(50, np.random.default_rng(s)).tolist() for s in (1, 1, 2))
    assert first == again != other


def test_nearly_a_million_points_are_enumerated() -> None:
    adapter = shape("att_qkv_depth", "tucker", ROBERTA)
    choices = {name: range(1, min(64, bound) + 1) for name, bound in adapter.rank_bounds.items()}
    found = FeasibleSet(adapter, choices, 80_000)
    assert 900_000 < found.size <= feasible_set.ENUMERATION_LIMIT
    assert found.points is not None
    assert found.points.shape == (found.size, 5)
    assert found.is_feasible(found.points).all()


def test_choices_may_come_in_any_order_and_more_than_once() -> None:
    adapter = shape("qkv", "tucker")
    tidy = FeasibleSet(adapter, {"input": [1, 3], "output": [1, 2], "qkv": [1, 2]}, 500)
    untidy = FeasibleSet(adapter, {"qkv": [2, 1, 2], "output": [2, 1], "input": [3, 1, 3]}, 500)
    assert as_set(tidy.points) == as_set(untidy.points)


@pytest.mark.parametrize("budget", [0, -5, True, 4e4])
def test_a_budget_that_is_not_a_positive_integer_is_refused(budget: int) -> None:
    adapter = shape("matrix", "matrix")
    message = f"budget must be a positive integer, got {budget!r}"
    with pytest.raises(BudgetError, match=f"^{re.escape(message)}$"):
        FeasibleSet(adapter, {"rank": [1]}, budget)


def test_a_budget_below_the_smallest_adapter_is_told_the_smallest() -> None:
    adapter = shape("sites", "tucker", ROBERTA)
    choices = {"input": range(2, 9), "output": [1, 4], "site": [2]}
    smallest = 2 * 768 + 768 + 2 * 36 + 2 * 1 * 2
    message = (
        f"budget must be at least {smallest:,} (the smallest sites adapter of this space, "
        "ranks input 2, output 1, site 2), got 1,000"
    )
    with pytest.raises(BudgetError, match=f"^{re.escape(message)}$"):
        FeasibleSet(adapter, choices, 1_000)


def test_the_smallest_adapter_fits_a_budget_of_its_own_size() -> None:
    adapter = shape("att_qkv_depth", "tucker", ROBERTA)
    ones = dict.fromkeys(adapter.rank_names, 1)
    found = FeasibleSet(adapter, ranges(adapter, 8), adapter.num_parameters(ones))
    assert found.size == 1
    assert found.find_smallest() == found.find_largest() == found.find_uniform() == ones


def test_a_space_without_usable_ranks_is_refused_at_any_budget() -> None:
    adapter = shape("qkv", "tucker")
    message = "no usable ranks of qkv fit a budget of 10,000"
    with pytest.raises(BudgetError, match=f"^{re.escape(message)}$"):
        FeasibleSet(adapter, {"input": [8], "output": [2], "qkv": [2]}, 10_000)
