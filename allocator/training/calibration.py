"""Calibrations of answers, and the loss that measures answers however confident they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_softmax, logit, softmax

from allocator.config import Calibration

Floats = npt.NDArray[np.float64]
_LARGEST_BIAS = 30.0  # the bias of a class that never occurs would go to minus infinity
# Bounds of a scale for outputs of unit spread. At the lower one, answers that say nothing get
# probabilities that are equal to a percent, and keep their order.
_SMALLEST_SCALE, _LARGEST_SCALE = 0.01, 1_000.0


def fit_calibration(
    outputs: Floats, labels: npt.NDArray[np.generic], *, has_intercept: bool = True
) -> Calibration | None:
    """Fit the calibration of outputs, which changes no decision.

    For classes and labels it is the scale of least cross-entropy (temperature scaling, Guo et al.
    2017, arXiv 1706.04599). So that a few examples that are all answered right do not make the
    scale infinite, every label counts as wrong with probability 1 / (examples + 2) (Platt 1999).
    For scores it is the least-squares line.

    Args:
        outputs: Logits of shape (examples, classes), or predicted scores of shape (examples, 1).
        labels: Shape (examples,): classes as integers, or real scores; shape (examples, labels), of
            0 and 1, if an example may have several.
        has_intercept: Whether scores may have an intercept; otherwise the line goes through the
            origin.

    Returns:
        The calibration, its scale above 0 even if the outputs say nothing of the labels; None if an
        output is not finite.
    """
    if not np.isfinite(outputs).all():
        return None
    if np.issubdtype(labels.dtype, np.floating):
        return _fit_line(outputs[:, 0], labels.astype(np.float64), has_intercept=has_intercept)
    if labels.ndim == 2:
        return Calibration(scale=_fit_scale_of_labels(outputs, labels.astype(np.float64)))
    return Calibration(scale=_fit_scale(outputs, labels.astype(np.int64)))


def average_calibrations(calibrations: Sequence[Calibration]) -> Calibration:
    """Average calibrations of trainings that differ in their seeds.

    An adapter that is trained on all of train has no examples left to fit one to.

    Args:
        calibrations: One or more.

    Returns:
        Geometric mean of the scales, mean of the intercepts.
    """
    return Calibration(
        scale=statistics.geometric_mean(c.scale for c in calibrations),
        intercept=statistics.fmean(c.intercept for c in calibrations),
    )


def _fit_scale(logits_NC: Floats, labels_N: npt.NDArray[np.int64]) -> float:
    """Fit the scale of least cross-entropy; N examples, C classes."""
    rows, classes = logits_NC.shape
    # A constant added to all logits of an example changes no probability.
    centered_NC = logits_NC - logits_NC.mean(axis=1, keepdims=True)
    spread = float(centered_NC.std())
    if not spread:
        return 1.0
    unit_NC = centered_NC / spread
    wrong = 1 / (rows + 2)
    is_label_NC = labels_N[:, None] == np.arange(classes)
    target_NC = np.where(is_label_NC, 1 - wrong, wrong / (classes - 1))

    def differentiate(log_scale: float) -> float:
        to_logits_NC = softmax(math.exp(log_scale) * unit_NC, axis=1) - target_NC
        return float(np.sum(to_logits_NC * unit_NC))

    return _find_scale(differentiate) / spread


def _fit_scale_of_labels(logits_NL: Floats, labels_NL: Floats) -> float:
    """Fit the scale of least binary cross-entropy; N examples, L labels."""
    size = float(np.sqrt(np.mean(logits_NL**2)))
    if not size:
        return 1.0
    unit_NL = logits_NL / size
    wrong = 1 / (len(labels_NL) + 2)
    target_NL = labels_NL * (1 - wrong) + (1 - labels_NL) * wrong

    def differentiate(log_scale: float) -> float:
        to_logits_NL = expit(math.exp(log_scale) * unit_NL) - target_NL
        return float(np.sum(to_logits_NL * unit_NL))

    return _find_scale(differentiate) / size


def _find_scale(differentiate: Callable[[float], float]) -> float:
    """Find the logarithm of a scale at which a loss has a derivative of 0; return the scale."""
    smallest, largest = math.log(_SMALLEST_SCALE), math.log(_LARGEST_SCALE)
    # The loss is convex in the scale, so its derivative changes sign at most once.
    if differentiate(smallest) >= 0:
        return _SMALLEST_SCALE
    if differentiate(largest) <= 0:
        return _LARGEST_SCALE
    return math.exp(brentq(differentiate, smallest, largest, xtol=1e-9))


def _fit_line(predicted: Floats, scores: Floats, *, has_intercept: bool) -> Calibration:
    """Fit the least-squares line whose slope is above 0."""
    predicted_mean = float(predicted.mean()) if has_intercept else 0.0
    scores_mean = float(scores.mean()) if has_intercept else 0.0
    x, y = predicted - predicted_mean, scores - scores_mean
    x_norm, y_norm = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    slope = 1.0
    if x_norm and y_norm:
        correlation = float(x @ y) / (x_norm * y_norm)
        slope = max(correlation, _SMALLEST_SCALE) * y_norm / x_norm
    return Calibration(scale=slope, intercept=scores_mean - slope * predicted_mean)


def compute_calibrated_loss(outputs: Floats, labels: npt.NDArray[np.generic]) -> float:
    """Compute the mean loss of outputs after the best correction of their confidence.

    A network that still learns which answers are right also becomes overconfident, so its loss can
    rise while its answers improve (Guo et al. 2017, arXiv 1706.04599). On a portion of CoLA, a
    baseline's loss rose from 0.589 to 0.670 while its MCC rose from 0.15 to 0.25. The
    correction is the one of least loss: a scale of at least 0 for all logits and a bias for every
    class or label (bias-corrected temperature scaling, Alexandari et al. 2020, arXiv 1901.06852),
    or, for scores, a line with a slope of at least 0.

    Args:
        outputs: Logits of shape (examples, classes), or predicted scores of shape (examples, 1).
        labels: As for `fit_calibration`.

    Returns:
        Mean cross-entropy in nats, for several labels also over these, or mean squared error; never
        above that of always predicting the shares or the mean score. Infinity if an output is not
        finite.
    """
    if not np.isfinite(outputs).all():
        return math.inf
    if np.issubdtype(labels.dtype, np.floating):
        return _compute_squared_error(outputs[:, 0], labels.astype(np.float64))
    if labels.ndim == 2:
        return _compute_binary_cross_entropy(outputs, labels.astype(np.float64))
    return _compute_cross_entropy(outputs, labels.astype(np.int64))


def _compute_squared_error(predicted: Floats, scores: Floats) -> float:
    """Compute the squared error of the least-squares line with a slope of at least 0."""
    centered = predicted - predicted.mean()
    power = float(centered @ centered)
    # A constant prediction leaves the mean score as the best answer.
    slope = max(0.0, float(centered @ scores) / power) if power else 0.0
    return float(np.mean((scores - scores.mean() - slope * centered) ** 2))


def _compute_cross_entropy(logits_NC: Floats, labels_N: npt.NDArray[np.int64]) -> float:
    """Compute the cross-entropy with the best scale and biases; N examples, C classes."""
    rows, classes = logits_NC.shape
    # With unit spread, the scale that L-BFGS has to find is near 1 for logits of any size.
    centered_NC = logits_NC - logits_NC.mean()
    # Equal logits have no spread; the smallest number avoids 0 / 0.
    unit_NC = centered_NC / max(float(centered_NC.std()), np.finfo(np.float64).tiny)
    is_label_NC = labels_N[:, None] == np.arange(classes)

    def compute_loss(parameters: Floats) -> tuple[float, Floats]:
        scale, biases_C = parameters[0], parameters[1:]
        log_p_NC = log_softmax(scale * unit_NC + biases_C, axis=1)
        # Gradient of softmax and cross-entropy together: probability minus label.
        to_logits_NC = (np.exp(log_p_NC) - is_label_NC) / rows
        gradient = np.concatenate([[np.sum(to_logits_NC * unit_NC)], to_logits_NC.sum(axis=0)])
        return -float(log_p_NC[is_label_NC].mean()), gradient

    shares_C = np.clip(is_label_NC.mean(axis=0), np.exp(-_LARGEST_BIAS), None)
    return _minimize(compute_loss, np.log(shares_C))


def _compute_binary_cross_entropy(logits_NL: Floats, labels_NL: Floats) -> float:
    """Compute the mean over labels of the same, each label with a bias; N examples, L labels."""
    unit_NL = logits_NL / max(float(logits_NL.std()), np.finfo(np.float64).tiny)

    def compute_loss(parameters: Floats) -> tuple[float, Floats]:
        scale, biases_L = parameters[0], parameters[1:]
        corrected_NL = scale * unit_NL + biases_L
        loss = float(np.mean(np.logaddexp(0, corrected_NL) - labels_NL * corrected_NL))
        to_logits_NL = (expit(corrected_NL) - labels_NL) / labels_NL.size
        gradient = np.concatenate([[np.sum(to_logits_NL * unit_NL)], to_logits_NL.sum(axis=0)])
        return loss, gradient

    rarest = math.exp(-_LARGEST_BIAS)
    return _minimize(compute_loss, logit(np.clip(labels_NL.mean(axis=0), rarest, 1 - rarest)))


def _minimize(compute_loss: Callable[[Floats], tuple[float, Floats]], biases: Floats) -> float:
    """Minimise a loss over a scale and biases, starting from a scale of 0."""
    fit = minimize(
        compute_loss,
        # Start from the predictor of the shares, so that the fit is never worse.
        np.concatenate([[0.0], biases]),
        jac=True,
        method="L-BFGS-B",
        # A negative scale would turn the worst answers into the best.
        bounds=[(0.0, None), *[(-_LARGEST_BIAS, _LARGEST_BIAS)] * len(biases)],
    )
    return float(fit.fun)
