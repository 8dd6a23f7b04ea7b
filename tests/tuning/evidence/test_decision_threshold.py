"""The threshold between two classes."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.data.scoring.metrics import compute_score
from allocator.tuning.evidence.decision_threshold import choose_threshold, needs_threshold

MCC = "matthews_correlation"


def test_only_mcc_and_f1_of_two_classes_need_one() -> None:
    assert needs_threshold(MCC, 2)
    assert needs_threshold("accuracy_and_f1", 2)
    assert not needs_threshold("accuracy", 2)
    assert not needs_threshold(MCC, 3)


@pytest.mark.parametrize("shift", [-2.0, 0.7, 3.0])
def test_margins_that_are_shifted_get_the_shift_as_their_threshold(shift: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=4_000)
    margins = np.where(labels == 1, 1.0, -1.0) + rng.normal(0, 0.5, 4_000) + shift
    assert choose_threshold(MCC, margins, labels) == pytest.approx(shift, abs=0.2)


def test_even_odds_stay_where_no_other_threshold_is_better() -> None:
    labels = np.array([0, 1] * 50)
    margins = np.where(labels == 1, 1.0, -1.0)
    assert choose_threshold(MCC, margins, labels) == 0.0


@pytest.mark.parametrize("metric", [MCC, "accuracy_and_f1"])
def test_the_score_on_the_examples_is_never_lower(metric: str) -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(500) < 0.7).astype(np.int64)
    margins = 0.4 * labels + rng.normal(0.9, 1.0, 500)
    threshold = choose_threshold(metric, margins, labels)

    def score(at: float) -> float:
        return compute_score(metric, (margins > at).astype(int).tolist(), labels.tolist()).value

    assert score(threshold) > score(0.0)
