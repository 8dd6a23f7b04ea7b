"""The predicted loss of an allocation, from cuts of a trained core."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import BackboneShape
from allocator.allocation.feasible_set import FeasibleSet
from allocator.tuning.priors.baseline_evidence import Baseline
from allocator.tuning.priors.predicted_loss import (
    predict_increases,
    predict_losses,
    propose_by_truncation,
    select_diverse,
)
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space_file import read_space

SMALL = BackboneShape(d_in=32, heads=4, head_size=8, layers=2)


def test_measured_losses_are_kept_and_noise_cannot_favour_a_smaller_rank() -> None:
    found = predict_increases(np.array([1, 2, 3, 4]), np.array([0.9, 0.4, 0.6, 0.5]), largest=4)
    np.testing.assert_allclose(found, [0.4, 0.1, 0.1, 0.0])


def test_a_tail_of_one_over_rank_is_continued_as_it_is() -> None:
    ranks = np.arange(1, 9)
    found = predict_increases(ranks, 0.3 + 0.2 / ranks, largest=32)
    np.testing.assert_allclose(found, 0.2 / np.arange(1, 33) - 0.2 / 8)


def test_ranks_between_measured_ones_follow_the_logarithm() -> None:
    found = predict_increases(np.array([1, 4]), np.array([0.7, 0.5]), largest=4)
    np.testing.assert_allclose(found, [0.2, 0.1, 0.2 * (1 - np.log(3) / np.log(4)), 0.0])


@given(losses=st.lists(st.floats(0, 10), min_size=1, max_size=12), beyond=st.integers(0, 30))
def test_more_rank_never_adds_to_the_loss(losses: list[float], beyond: int) -> None:
    ranks = np.arange(1, len(losses) + 1)
    found = predict_increases(ranks, np.array(losses), largest=len(losses) + beyond)
    assert np.all(np.diff(found) <= 1e-12)
    assert np.isfinite(found).all()


def test_the_first_of_the_list_is_the_best_of_all_feasible_ranks(
    make_baseline: Callable[..., Baseline],
) -> None:
    space = build_space(read_space("tenslora_plus"), SMALL, 1_500)
    feasible = space.variants[0].feasible
    losses = {
        mode: [0.5 + weight / r for r in range(1, rank + 1)]
        for (mode, rank), weight in zip(
            feasible.find_uniform().items(), (0.3, 0.1, 0.05, 0.2, 0.02), strict=True
        )
    }
    baseline = make_baseline(space, losses=losses)

    def predicted(ranks: dict[str, int]) -> float:
        return sum(
            weight / ranks[mode]
            for mode, weight in zip(losses, (0.3, 0.1, 0.05, 0.2, 0.02), strict=True)
        )

    points = feasible.points
    assert points is not None
    best = min(points, key=lambda p: predicted(feasible.point_to_ranks(p)))
    first = propose_by_truncation(feasible, baseline)[0]
    assert predicted(first) == pytest.approx(predicted(feasible.point_to_ranks(best)))
    own = np.array([[baseline.ranks[name] for name in feasible.names]])
    np.testing.assert_allclose(
        predict_losses(feasible, baseline.truncation, own),
        np.mean([curve[-1] for curve in losses.values()]),
    )


def test_a_feasible_set_too_large_to_list_is_sampled(
    make_baseline: Callable[..., Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = build_space(read_space("tenslora_plus"), SMALL, 1_500)
    baseline = make_baseline(space)
    listed = space.variants[0].feasible
    assert isinstance(listed, FeasibleSet)
    monkeypatch.setattr("allocator.allocation.feasible_set.ENUMERATION_LIMIT", 10)
    shape = AdapterShape(construction="att_qkv_depth", factorization="tucker", backbone=SMALL)
    sampled = FeasibleSet(shape, {n: c.tolist() for n, c in listed.choices.items()}, 1_500)
    assert sampled.points is None
    for ranks in propose_by_truncation(sampled, baseline):
        assert listed.contains(ranks)


def test_the_first_entries_lie_apart_as_far_as_the_list_allows() -> None:
    near = np.array([[8, 8], [8, 9], [9, 8], [16, 8], [8, 4], [4, 4]])
    np.testing.assert_array_equal(select_diverse(near, 3), [[8, 8], [16, 8], [8, 4]])
    np.testing.assert_array_equal(np.sort(select_diverse(near, 9), axis=0), np.sort(near, axis=0))
