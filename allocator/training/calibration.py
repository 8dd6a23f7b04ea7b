"""The calibrated loss, which measures answers independently of how confident they are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

Floats = npt.NDArray[np.float64]
_LARGEST_BIAS = 30.0  # the bias of a class that never occurs would go to minus infinity


def compute_calibrated_loss(outputs: Floats, labels: npt.NDArray[np.generic]) -> float:
    """Compute the mean loss of outputs after the best correction of their confidence.

    A network that still learns which answers are right also becomes overconfident, so its loss can
    rise while its answers improve (Guo et al. 2017, arXiv 1706.04599). On a portion of CoLA, a
    baseline's loss rose from 0.589 to 0.670 while its MCC rose from 0.15 to 0.25. The
    correction is the one of least loss: a scale of at least 0 for all logits and a bias for every
    class (bias-corrected temperature scaling, Alexandari et al. 2020, arXiv 1901.06852), or,
    for scores, a line with a slope of at least 0.

    Args:
        outputs: Logits of shape (examples, classes), or predicted scores of shape (examples, 1).
        labels: Shape (examples,): classes as integers, or real scores.

    Returns:
        Mean cross-entropy in nats, or mean squared error; never above that of
        always predicting the class shares or the mean score. Infinity if an output is not finite.
    """
    if not np.isfinite(outputs).all():
        return math.inf
    if np.issubdtype(labels.dtype, np.floating):
        return _compute_squared_error(outputs[:, 0], labels.astype(np.float64))
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
    fit = minimize(
        compute_loss,
        # Start from the predictor of the class shares, so that the fit is never worse.
        np.concatenate([[0.0], np.log(shares_C)]),
        jac=True,
        method="L-BFGS-B",
        # A negative scale would turn the worst answers into the best.
        bounds=[(0.0, None), *[(-_LARGEST_BIAS, _LARGEST_BIAS)] * classes],
    )
    return float(fit.fun)
