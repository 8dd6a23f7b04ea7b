"""The smallest allocation that is not worse, told by searches whose truth is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from front_rates import Answer, Front, judge_answer, search_front
from front_surface import SURFACES, Surface
from scipy.stats import binom
from tables import Table, read_table

from allocator.tuning.space.space import make_baseline_params

PROMISED = 0.9
CHANCE = 0.01  # with which a test fails although rates are as promised
COLA = Path(__file__).parent / "trained" / "cola"


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(COLA)


@pytest.mark.parametrize(
    ("place", "is_good", "is_smallest"),
    [
        (0, False, True),  # 0.0030 worse, where the margin is 0.0015
        (1, True, True),  # 0.0010 worse
        (2, True, True),  # the two that are smaller are truly worse
    ],
)
def test_an_answer_is_right_if_it_is_good_and_nothing_smaller_is_as_good(
    place: int, is_good: bool, is_smallest: bool
) -> None:
    answer = Answer(place=place, error=0.0015)
    front = Front(
        kind="",
        search=0,
        sizes=[9_000, 19_000, 39_000],
        truths=[0.603, 0.601, 0.600],
        answer=answer,
        by_search=answer,
    )
    judged = judge_answer(front, answer)
    assert (judged.is_good, judged.is_smallest) == (is_good, is_smallest)
    assert judge_answer(front, answer, 0.0005).is_good == (place == 2)


def test_what_is_larger_than_one_that_is_as_good_is_not_the_smallest() -> None:
    answer = Answer(place=1, error=0.0015)
    sizes, truths = [9_000, 39_000], [0.6, 0.6]
    front = Front(kind="", search=0, sizes=sizes, truths=truths, answer=answer, by_search=answer)
    assert not judge_answer(front, answer)


@pytest.mark.parametrize("kind", SURFACES)
def test_a_surface_has_nothing_to_gain_from_parameters_beyond_what_is_enough(
    kind: str, table: Table
) -> None:
    surface, (half, enough) = Surface(table, kind, 0), SURFACES[kind]
    allocation = surface.space.make_allocation(make_baseline_params(surface.space))
    at_its_best = surface.compute_truth(40_000, allocation)
    assert surface.compute_truth(int(enough), allocation) == pytest.approx(at_its_best)
    assert surface.compute_truth(int(enough / 2), allocation) == pytest.approx(at_its_best + half)


@pytest.mark.slow
def test_the_smallest_allocation_is_told_right_in_nine_of_ten_searches(table: Table) -> None:
    """The bound is one that a rate as promised breaks in one of a hundred runs."""
    fronts = [
        search_front(table, kind, search)
        for kind in ("flat", "knee", "gains", "gains little")
        for search in range(6)
    ]
    right = sum(bool(judge_answer(front, front.answer)) for front in fronts)
    assert right >= binom.ppf(CHANCE, len(fronts), PROMISED)  # 18 of 24
