from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss

from allocator.config import Calibration
from allocator.training.calibration import (
    average_calibrations,
    compute_calibrated_loss,
    fit_calibration,
)


def answers(classes: int, sureness: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    labels = rng.integers(classes, size=400)
    logits = rng.standard_normal((400, classes)) + 1.5 * np.eye(classes)[labels]
    return sureness * logits, labels


def fit(outputs: np.ndarray, labels: np.ndarray, *, has_intercept: bool = True) -> Calibration:
    calibration = fit_calibration(outputs, labels, has_intercept=has_intercept)
    assert calibration is not None
    return calibration


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


def test_the_scale_of_two_classes_is_that_of_logistic_regression_without_intercept() -> None:
    logits, labels = answers(2, 5.0)
    margin = (logits[:, 1] - logits[:, 0])[:, None]
    # Every label counts as wrong with probability 1 / (examples + 2), as in Platt's targets.
    wrong = 1 / (len(labels) + 2)
    fitted = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-8).fit(
        np.concatenate([margin, margin]),
        np.concatenate([labels, 1 - labels]),
        sample_weight=np.repeat([1 - wrong, wrong], len(labels)),
    )
    assert fit(logits, labels).scale == pytest.approx(float(fitted.coef_[0, 0]), rel=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("sureness", [0.1, 1.0, 50.0])
def test_no_scale_beside_the_fitted_one_has_less_cross_entropy(
    classes: int, sureness: float
) -> None:
    logits, labels = answers(classes, sureness)
    best = fit(logits, labels).scale

    def loss(scale: float) -> float:
        return float(log_loss(labels, softmax(scale * logits, axis=1)))

    # Platt's targets shift the scale by less than these fractions.
    assert loss(best) < min(loss(0.9 * best), loss(1.1 * best))
    assert loss(best) < loss(1.0) or sureness == 1.0


def test_a_scale_does_not_depend_on_a_constant_added_to_an_examples_logits() -> None:
    logits, labels = answers(3, 2.0)
    shifted = logits + np.arange(len(logits))[:, None]
    assert fit(shifted, labels).scale == pytest.approx(fit(logits, labels).scale)


def test_the_scale_follows_the_size_of_the_logits() -> None:
    scales = [sureness * fit(*answers(3, sureness)).scale for sureness in (1e-6, 1.0, 1e6)]
    assert scales == pytest.approx([scales[0]] * 3)


def test_a_few_answers_that_are_all_right_do_not_become_certain() -> None:
    labels = np.array([0, 1] * 20)
    logits = np.eye(2)[labels]
    (surest,) = set(softmax(fit(logits, labels).scale * logits, axis=1).max(axis=1))
    assert surest == pytest.approx(1 - 1 / 42)  # Laplace's rule of succession


def test_answers_that_say_nothing_keep_their_order_and_all_but_lose_their_confidence() -> None:
    labels = np.array([0, 1, 1, 1] * 25)
    always_wrong = 30.0 - 60.0 * np.eye(2)[labels]
    scale = fit(always_wrong, labels).scale
    assert scale > 0
    assert np.abs(softmax(scale * always_wrong, axis=1) - 0.5).max() < 0.01
    assert fit(np.zeros((100, 2)), labels).scale == 1.0


def test_a_calibrated_line_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(50)
    predicted = (3.0 * scores + rng.standard_normal(50) + 7.0)[:, None]
    for has_intercept in (True, False):
        line = LinearRegression(fit_intercept=has_intercept).fit(predicted, scores)
        calibration = fit(predicted, scores, has_intercept=has_intercept)
        assert calibration.scale == pytest.approx(line.coef_[0])
        assert calibration.intercept == pytest.approx(line.intercept_)


def test_a_line_never_turns_predictions_round() -> None:
    scores = np.random.default_rng(0).standard_normal(50)
    calibration = fit(-1_000.0 * scores[:, None], scores)
    assert calibration.scale > 0
    calibrated = calibration.scale * -1_000.0 * scores + calibration.intercept
    # All but constant at the mean, which is the best without the sign.
    assert calibrated == pytest.approx(np.full(50, scores.mean()), abs=0.05)
    constant = fit(np.ones((50, 1)), scores)
    assert constant.scale == 1.0
    assert 1.0 + constant.intercept == pytest.approx(scores.mean())


def test_outputs_that_are_not_finite_have_no_calibration() -> None:
    assert fit_calibration(np.array([[math.nan, 0.0]]), np.array([0])) is None


def test_calibrations_of_seeds_are_averaged_by_ratios_and_by_differences() -> None:
    one, other = Calibration(scale=0.5, intercept=1.0), Calibration(scale=2.0, intercept=-4.0)
    assert average_calibrations([one, other]) == Calibration(scale=1.0, intercept=-1.5)
    assert average_calibrations([one]) == one


def answer_labels(sureness: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 3)) < np.array([0.5, 0.2, 0.05])).astype(np.int64)
    return sureness * (rng.standard_normal((400, 3)) + 1.5 * labels - 1.0), labels


def test_labels_are_calibrated_by_one_scale_and_a_bias_for_each() -> None:
    outputs, labels = answer_labels(4.0)
    # The same as one logistic regression, with a column that says which label it is.
    features = np.hstack([outputs.reshape(-1, 1), np.tile(np.eye(3), (400, 1))])
    fitted = LogisticRegression(C=1e9, fit_intercept=False, max_iter=1000)
    fitted.fit(features, labels.reshape(-1))
    expected = log_loss(labels.reshape(-1), fitted.predict_proba(features))
    assert compute_calibrated_loss(outputs, labels) == pytest.approx(expected, rel=1e-4)
    surer = compute_calibrated_loss(*answer_labels(100.0))
    assert surer == pytest.approx(expected, rel=1e-3)


def test_labels_that_are_not_told_apart_lose_as_much_as_their_shares() -> None:
    _, labels = answer_labels(1.0)
    shares = labels.mean(axis=0)
    entropy = -np.mean(shares * np.log(shares) + (1 - shares) * np.log(1 - shares))
    assert compute_calibrated_loss(np.zeros((400, 3)), labels) == pytest.approx(entropy)
    assert compute_calibrated_loss(3.0 - 6.0 * labels, labels) == pytest.approx(entropy)


def test_the_scale_of_labels_is_that_of_least_loss() -> None:
    outputs, labels = answer_labels(7.0)
    scale = fit(outputs, labels).scale
    wrong = 1 / 402

    def compute_loss(factor: float) -> float:
        targets = np.where(labels == 1, 1 - wrong, wrong)
        logits = factor * scale * outputs
        return float(np.mean(np.logaddexp(0, logits) - targets * logits))

    assert compute_loss(1.0) < min(compute_loss(0.99), compute_loss(1.01))
    assert fit(np.zeros((4, 3)), labels[:4]).scale == 1.0
    assert fit(1000.0 * (2.0 * labels - 1), labels).scale < 0.1
