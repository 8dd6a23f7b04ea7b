"""Differences between metrics that are no mean over examples, as if they were one.

Shapes: S seeds, N examples, G groups of examples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allocator.data.scoring.metrics import compute_score

Floats = npt.NDArray[np.float64]
Predictions = npt.NDArray[np.number]

MOST_GROUPS = 100


def compute_pseudo_differences(
    metric: str,
    predictions_SN: Predictions,
    baseline_predictions_SN: Predictions,
    labels_N: Predictions,
) -> Floats:
    """Divide the difference between two metrics among groups of examples.

    The pseudo-values of the delete-a-group jackknife, G theta_s - (G - 1) theta_s(-g), where
    theta_s is the metric of the choice minus that of the baseline and -g leaves out a group (Shao
    and Tu 1995, The Jackknife and Bootstrap). They vary as much as groups contribute, so
    `compare_paired` takes them for examples. A row's mean is theta_s without the bias of order
    1 / N that the metric may have.

    Args:
        metric: As for `compute_score`.
        predictions_SN: Predictions of the choice, shape (seeds, examples): class ids, or scores;
            or shape (seeds, examples, classes) for a metric that takes probabilities, and for
            several labels.
        baseline_predictions_SN: Those of the baseline with the same seeds, on the same examples.
        labels_N: True classes or scores, shape (examples,); or shape (examples, labels).

    Returns:
        Shape (seeds, groups). The groups depend on the number of examples alone, and are single
        examples if there are at most `MOST_GROUPS`.

    Raises:
        TaskError: If the metric is not known, or fails.
        ValueError: If there are fewer than two examples, or shapes do not agree.
    """
    _require_shapes(predictions_SN, baseline_predictions_SN, labels_N)
    kept = _leave_out_groups(len(labels_N))
    groups = len(kept)

    def compute_difference(seed: int, rows: npt.NDArray[np.intp] | slice) -> float:
        choice, baseline = (
            compute_score(metric, predictions_N[rows], labels_N[rows]).value
            for predictions_N in (predictions_SN[seed], baseline_predictions_SN[seed])
        )
        return choice - baseline

    seeds = range(len(predictions_SN))
    whole_S = np.array([compute_difference(seed, slice(None)) for seed in seeds])
    without_SG = np.array([[compute_difference(seed, rows) for rows in kept] for seed in seeds])
    pseudo_SG: Floats = groups * whole_S[:, None] - (groups - 1) * without_SG
    return pseudo_SG


def _leave_out_groups(examples: int) -> list[npt.NDArray[np.intp]]:
    """Return the rows that remain without each group, in their order."""
    # A score takes about 20 ms for 1,000 examples, and 100 groups already estimate a standard error
    # to within 7%. They are random because files are often ordered by class.
    order_N = np.random.default_rng(0).permutation(examples)
    groups = np.array_split(order_N, min(examples, MOST_GROUPS))
    return [np.setdiff1d(order_N, group) for group in groups]


def _require_shapes(
    predictions_SN: Predictions, baseline_predictions_SN: Predictions, labels_N: Predictions
) -> None:
    if labels_N.ndim not in (1, 2) or len(labels_N) < 2:
        raise ValueError(
            f"labels must have shape (examples,) with at least two examples, got {labels_N.shape}"
        )
    shape = predictions_SN.shape
    if len(shape) not in (2, 3) or not shape[0] or shape[1] != len(labels_N):
        raise ValueError(
            f"predictions must have shape (seeds, {len(labels_N)}), as there are labels, "
            f"with at least one seed, got {shape}"
        )
    if baseline_predictions_SN.shape != shape:
        raise ValueError(
            "the baseline's predictions must have the shape of the choice's, "
            f"{shape}, got {baseline_predictions_SN.shape}"
        )
