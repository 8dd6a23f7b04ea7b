"""The race: whose next seed tells most about which allocation is best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.evidence.expectations import Expectations
from allocator.tuning.evidence.race import SEARCH_SEEDS, choose_contenders


def expect(
    mean: Sequence[float], variance: Sequence[float], *, correlation: float = 0.0
) -> Expectations:
    """Make expectations of allocations that are all correlated alike."""
    deviation = np.sqrt(np.array(variance))
    correlations = np.full((len(mean), len(mean)), correlation)
    np.fill_diagonal(correlations, 1.0)
    return Expectations(
        allocations=(TriedAllocation(params={}, trials=()),) * len(mean),
        mean=np.array(mean),
        covariance=correlations * np.outer(deviation, deviation),
        noise=0.04,
        sign=-1.0,
    )


def choose(
    expectations: Expectations,
    places: int,
    seeds: Sequence[int] | None = None,
    groups: Sequence[Sequence[int]] = (),
) -> list[int]:
    counts = [1] * len(expectations.mean) if seeds is None else seeds
    flags = [np.isin(np.arange(len(counts)), group) for group in groups]
    return choose_contenders(expectations, places, num_seeds=counts, groups=flags)


def test_the_challenger_is_the_one_that_most_likely_is_better_still() -> None:
    # The second is 1 standard deviation behind the leader, the third 2, and the last 0.5.
    near_but_known, far, far_but_open = (0.9, 0.01), (0.0, 0.01), (-0.5, 8.0)
    others = (near_but_known, far, far_but_open)
    expectations = expect([1.0, *(m for m, _ in others)], [0.001, *(v for _, v in others)])
    assert choose(expectations, 1) == [3]


@pytest.mark.parametrize(("leaders", "chosen"), [(0.04, 1), (0.06, 0)])
def test_of_leader_and_challenger_the_less_certain_is_trained(leaders: float, chosen: int) -> None:
    assert choose(expect([1.0, 0.9, 0.0], [leaders, 0.05, 0.05]), 1) == [chosen]


def test_what_two_allocations_have_in_common_does_not_make_them_rivals() -> None:
    mean, variance = [1.0, 0.8, 0.8], [0.5, 0.5, 0.5]
    alike = expect(mean, variance)
    alike.covariance[0, 1] = alike.covariance[1, 0] = 0.499
    assert choose(alike, 1, [SEARCH_SEEDS, 1, 1]) == [2]


def test_a_measurement_that_is_decided_on_counts_before_the_next() -> None:
    chosen = choose(expect([1.0, 0.95, 0.95], [0.05, 0.05, 0.05]), 6)
    assert sorted(set(chosen)) == [0, 1, 2]
    assert max(map(chosen.count, range(3))) <= 3


def test_the_first_choices_do_not_depend_on_how_many_are_made() -> None:
    expectations = expect([1.0, 0.95, 0.9, 0.2], [0.05, 0.06, 0.07, 0.05], correlation=0.5)
    assert [choose(expectations, n) for n in range(1, 7)] == [
        choose(expectations, 6)[:n] for n in range(1, 7)
    ]


def test_none_has_more_seeds_than_a_search_may_give() -> None:
    seeds = [SEARCH_SEEDS - 1, 1, SEARCH_SEEDS]
    chosen = choose(expect([1.0, 0.9, 0.8], [0.05, 0.05, 9.0]), 100, seeds)
    assert [chosen.count(i) for i in range(3)] == [1, SEARCH_SEEDS - 1, 0]


def test_where_the_pair_has_all_its_seeds_the_next_challenger_is_trained() -> None:
    expectations = expect([1.0, 0.9, 0.0], [0.05, 0.05, 0.05])
    assert choose(expectations, 1, [SEARCH_SEEDS, SEARCH_SEEDS, 1]) == [2]


def test_one_allocation_alone_is_trained_until_it_has_all_seeds() -> None:
    assert choose(expect([1.0], [0.05]), 100, [1]) == [0] * (SEARCH_SEEDS - 1)


def test_equal_allocations_are_trained_in_the_order_in_which_they_were_tried() -> None:
    assert choose(expect([1.0, 1.0], [0.05, 0.05]), 2) == [0, 1]


def test_every_place_seeks_the_best_of_its_group_in_turn() -> None:
    # The last two are better, and far less certain.
    expectations = expect([0.5, 0.48, 1.0, 0.99], [0.05, 0.05, 9.0, 9.0])
    chosen = choose(expectations, 6, groups=[[0, 1], [0, 1, 2, 3]])
    assert set(chosen[0::2]) == {0, 1}
    assert set(chosen[1::2]) == {2, 3}


def test_a_group_of_one_trains_that_one_until_it_has_all_seeds() -> None:
    expectations = expect([0.5, 1.0], [0.05, 9.0])
    assert choose(expectations, 3, groups=[[0]]) == [0, 0, 0]
    # Its place is left to the others then.
    assert choose(expectations, 1, [SEARCH_SEEDS, 1], groups=[[0]]) == [1]
    assert choose(expectations, 1, [SEARCH_SEEDS, SEARCH_SEEDS], groups=[[0]]) == []
