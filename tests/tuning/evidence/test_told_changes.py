"""What is told of an effect: differences beyond 2.5 standard deviations, and no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from allocator.tuning.evidence.effect_sentences import describe_effect, describe_effects
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.evidence.told_changes import find_changes

RANKS = (1, 2, 4, 8, 16)


def make_effect(
    mean: Sequence[float],
    values: Sequence[float] = RANKS,
    *,
    error: float = 0.01,
    name: str = "rank_input",
    limits: tuple[float, float] = (1, 32),
) -> MarginalEffect:
    """Make an effect whose differences all have the same standard deviation."""
    return MarginalEffect(
        name=name,
        values=np.array(values, dtype=np.float64),
        own=0,
        mean=np.array(mean),
        covariance=error**2 / 2 * np.eye(len(values)),
        limits=limits,
    )


def list_told(effect: MarginalEffect) -> list[tuple[float, float]]:
    return [
        (float(effect.values[c.start]), float(effect.values[c.end])) for c in find_changes(effect)
    ]


@pytest.mark.parametrize(("difference", "told"), [(0.0251, [(1, 2)]), (0.0249, [])])
def test_a_difference_beyond_two_and_a_half_deviations_is_told(
    difference: float, told: list[tuple[float, float]]
) -> None:
    assert list_told(make_effect([0.5, 0.5 + difference], (1, 2))) == told


def test_what_is_shared_by_two_values_does_not_hide_their_difference() -> None:
    effect = MarginalEffect(
        name="rank_input",
        values=np.array([1.0, 2.0]),
        own=0,
        mean=np.array([0.5, 0.512]),
        covariance=np.array([[1.0, 0.99999], [0.99999, 1.0]]),
        limits=(1, 2),
    )
    assert effect.errors[0, 1] == pytest.approx(np.sqrt(2e-5))
    assert len(find_changes(effect)) == 1


def test_a_change_ends_where_nothing_more_is_told() -> None:
    assert list_told(make_effect([0.6, 0.55, 0.5, 0.499, 0.498])) == [(1, 4)]


def test_a_change_starts_where_nothing_is_told_below() -> None:
    assert list_told(make_effect([0.601, 0.6, 0.55, 0.5, 0.5])) == [(2, 8)]


def test_a_small_slope_is_told_over_its_whole_range() -> None:
    assert list_told(make_effect([0.528, 0.521, 0.514, 0.507, 0.5])) == [(1, 16)]


def test_an_optimum_within_the_range_has_a_change_at_either_side() -> None:
    effect = make_effect([0.6, 0.55, 0.5, 0.54, 0.58])
    assert list_told(effect) == [(1, 4), (4, 16)]
    assert [np.sign(c.difference) for c in find_changes(effect)] == [-1, 1]


def test_a_sentence_says_what_is_told_and_from_where_on_nothing_is() -> None:
    assert describe_effect(make_effect([0.6, 0.55, 0.5, 0.499, 0.498])) == (
        "rank input: 1 to 4 lowers it by 0.1000 ± 0.0100; beyond 4 nothing can be told"
    )


def test_a_sentence_names_both_sides_of_an_optimum() -> None:
    effect = make_effect(
        [0.6, 0.5, 0.58], (1e-4, 1e-3, 1e-2), name="learning_rate", limits=(1e-4, 1e-2)
    )
    assert describe_effect(effect) == (
        "learning rate: 0.0001 to 0.001 lowers it by 0.1000 ± 0.0100, "
        "0.001 to 0.01 raises it by 0.0800 ± 0.0100"
    )


def test_effects_of_which_nothing_can_be_told_share_a_sentence() -> None:
    told = make_effect([0.6, 0.5], (1, 32))
    flat = [make_effect([0.5] * 5, name=n) for n in ("rank_head_dim", "core_lr_multiplier")]
    assert describe_effects([flat[0], told, flat[1]]) == [
        "rank input: 1 to 32 lowers it by 0.1000 ± 0.0100",
        "rank head_dim, lambda: nothing can be told",
    ]


def test_one_value_tells_nothing() -> None:
    assert describe_effect(make_effect([0.5], (3,))) == "rank input: nothing can be told"
