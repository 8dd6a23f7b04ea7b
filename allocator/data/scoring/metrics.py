"""Score predictions by a task's metric: one number and its components."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.data.scoring.glue_metrics import METRICS
from allocator.data.scoring.loaded_metrics import Labels, load_metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The score of some predictions.

    Attributes:
        value: The mean of the components, as in GLUE's overall score: higher is better, never NaN.
        components: The metric's components by name.
    """

    value: float
    components: Mapping[str, float]


def compute_score(metric: str, predictions: Labels, references: Labels) -> Score:
    """Score predictions against the true labels.

    Args:
        metric: A key of `METRICS`, or another name that `load_metric` takes. Every number in the
            dictionary that the metric returns is a component and their mean is the score, so
            higher must be better for each.
        predictions: Class ids, or scores for a regression metric.
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
    if metric not in METRICS and not _are_scores(references):
        # Other metrics may not convert their inputs, and class ids may be floats.
        predictions = np.asarray(predictions).astype(np.int64).tolist()
    components = load_metric(metric).compute(predictions, references)
    return Score(value=math.fsum(components.values()) / len(components), components=components)


def _are_scores(labels: Labels) -> bool:
    return bool(np.issubdtype(np.asarray(labels).dtype, np.floating))
