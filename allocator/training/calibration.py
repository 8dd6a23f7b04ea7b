"""What answers know, apart from how sure they are of it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

Floats = npt.NDArray[np.float64]
_LARGEST = 30.0  # a bias; a class that never occurs would have minus infinity


def compute_calibrated_loss(outputs: Floats, labels: npt.NDArray[np.generic]) -> float:
    """Give the mean loss of outputs whose confidence is put right first.

    A network goes on learning which answers are right while it grows too sure of all of them, so
    that its loss rises as its answers improve (Guo et al. 2017, arXiv 1706.04599). Here one scale
    for all logits, at least 0, and a bias for every class are chosen that make the loss least
    (bias-corrected temperature scaling, Alexandari et al. 2020, arXiv 1901.06852); scores are
    predictions of a line.

    Args:
        outputs: Logits of shape (examples, classes), or predicted scores of shape (examples, 1).
        labels: Classes, or real scores, shape (examples,).

    Returns:
        Cross-entropy or squared error, at most that of the class shares or of the mean score;
        infinity where an output is not finite.
    """
    if not np.isfinite(outputs).all():
        return math.inf
    if np.issubdtype(labels.dtype, np.floating):
        return _squared_error(outputs[:, 0], labels.astype(np.float64))
    return _cross_entropy(outputs, labels.astype(np.int64))


def _squared_error(predicted: Floats, scores: Floats) -> float:
    centered = predicted - predicted.mean()
    power = float(centered @ centered)
    slope = max(0.0, float(centered @ scores) / power) if power else 0.0
    return float(np.mean((scores - scores.mean() - slope * centered) ** 2))


def _cross_entropy(logits_NC: Floats, labels_N: npt.NDArray[np.int64]) -> float:
    rows, classes = logits_NC.shape
    centered_NC = logits_NC - logits_NC.mean()
    unit_NC = centered_NC / max(float(centered_NC.std()), np.finfo(np.float64).tiny)
    is_label_NC = labels_N[:, None] == np.arange(classes)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale, biases_C = parameters[0], parameters[1:]
        log_p_NC = log_softmax(scale * unit_NC + biases_C, axis=1)
        to_logits_NC = (np.exp(log_p_NC) - is_label_NC) / rows
        gradient = np.concatenate([[np.sum(to_logits_NC * unit_NC)], to_logits_NC.sum(axis=0)])
        return -float(log_p_NC[is_label_NC].mean()), gradient

    shares_C = np.clip(is_label_NC.mean(axis=0), np.exp(-_LARGEST), None)
    found = minimize(
        loss,
        np.concatenate([[0.0], np.log(shares_C)]),  # the class shares, whatever the example
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None), *[(-_LARGEST, _LARGEST)] * classes],
    )
    return float(found.fun)
