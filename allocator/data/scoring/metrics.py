"""Score predictions by a task's metric: one number and its components."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.data.scoring.glue_metrics import METRICS
from allocator.data.scoring.loaded_metrics import LabelArray, load_metric
from allocator.data.tasks import LARGEST_SCORE


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The score of some predictions.

    Attributes:
        value: The mean of the components, as in GLUE's overall score: higher is better, never NaN.
        components: The metric's components by name.
    """

    value: float
    components: Mapping[str, float]


def compute_score(metric: str, predictions: LabelArray, references: LabelArray) -> Score:
    """Score predictions against the true labels.

    Args:
        metric: A name that `load_metric` takes. Every number that the metric returns is a
            component and their mean is the score, so higher must be better for each.
        predictions: Class ids, or scores for a regression metric; the probabilities of all
            classes, shape (N, C), for one that `takes_probabilities`.
        references: The true classes or scores, as many.

    Raises:
        TaskError: If the metric is not known, or fails.
        ValueError: If there are no predictions, or not as many as references.
    """
    if len(predictions) != len(references) or not len(references):
        raise ValueError(
            f"a score needs one prediction per reference and at least one of each, "
            f"got {len(predictions)} and {len(references)}"
        )
    loaded = load_metric(metric)
    if not (loaded.takes_probabilities or _are_scores(references)):
        # Metrics may not convert their inputs, and class ids may be floats.
        predictions = np.asarray(predictions).astype(np.int64)
    elif metric not in METRICS:
        # Of answers that are not finite, which a training that diverges gives, others than ours
        # would fail.
        predictions = np.nan_to_num(predictions, posinf=LARGEST_SCORE, neginf=-LARGEST_SCORE)
    components = loaded.compute(predictions, references)
    return Score(value=math.fsum(components.values()) / len(components), components=components)


def takes_probabilities(metric: str) -> bool:
    """Whether a metric takes the probabilities of classes instead of their ids.

    Raises:
        TaskError: If the metric is not known.
    """
    return load_metric(metric).takes_probabilities


def depends_on_calibration(metric: str, *, is_regression: bool) -> bool:
    """Whether a calibration of answers, which changes neither class nor correlation, counts.

    Raises:
        TaskError: If the metric is not known.
    """
    return takes_probabilities(metric) or (is_regression and metric not in METRICS)


def _are_scores(labels: LabelArray) -> bool:
    return bool(np.issubdtype(np.asarray(labels).dtype, np.floating))
