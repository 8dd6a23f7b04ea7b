from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss

from allocator.training.calibration import compute_calibrated_loss


def answers(classes: int, sureness: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    labels = rng.integers(classes, size=400)
    logits = rng.standard_normal((400, classes)) + 1.5 * np.eye(classes)[labels]
    return sureness * logits, labels


def test_two_classes_are_calibrated_as_by_logistic_regression() -> None:
    logits, labels = answers(2, 5.0)
    feature = (logits[:, 1] - logits[:, 0])[:, None]
    fitted = LogisticRegression(C=1e9).fit(feature, labels)
    expected = log_loss(labels, fitted.predict_proba(feature))
    assert compute_calibrated_loss(logits, labels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_how_sure_answers_are_changes_nothing(classes: int) -> None:
    losses = [compute_calibrated_loss(*answers(classes, sureness)) for sureness in (0.1, 1.0, 50.0)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)
    assert losses[0] < math.log(classes) - 0.2


def test_answers_that_know_nothing_lose_as_much_as_the_class_shares() -> None:
    labels = np.array([0, 1, 1, 1] * 25)
    shares = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert compute_calibrated_loss(np.zeros((100, 2)), labels) == pytest.approx(shares)
    always_wrong = 3.0 - 6.0 * np.eye(2)[labels]  # no scale below zero turns these round
    assert compute_calibrated_loss(always_wrong, labels) == pytest.approx(shares)


def test_a_class_that_never_occurs_does_no_harm() -> None:
    logits, labels = answers(2, 1.0)
    wider = np.concatenate([logits, np.zeros((len(logits), 1))], axis=1)
    assert compute_calibrated_loss(wider, labels) == pytest.approx(
        compute_calibrated_loss(logits, labels), rel=1e-3
    )


def test_scores_are_calibrated_as_by_a_line() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(50)
    predicted = (3.0 * scores + rng.standard_normal(50) + 7.0)[:, None]
    line = LinearRegression().fit(predicted, scores)
    expected = np.mean((scores - line.predict(predicted)) ** 2)
    assert compute_calibrated_loss(predicted, scores) == pytest.approx(expected)
    assert compute_calibrated_loss(-predicted, scores) == pytest.approx(np.var(scores))
    assert compute_calibrated_loss(np.ones((50, 1)), scores) == pytest.approx(np.var(scores))


def test_outputs_that_are_not_finite_lose_everything() -> None:
    assert compute_calibrated_loss(np.array([[math.nan, 0.0]]), np.array([0])) == math.inf
