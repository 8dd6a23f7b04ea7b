"""GLUE's metrics as `evaluate.Metric` classes that need no download."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import evaluate
import numpy as np
from datasets import Features, Value
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from allocator.errors import TaskError, describe_unknown

Parts = dict[str, float]
Labels = Sequence[float] | NDArray[np.number]
"""Class ids, or scores for regression."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What a metric says of some predictions.

    Attributes:
        value: The mean of the parts, as in GLUE's overall score: higher is better, never nan.
        parts: The metric's components by name.
    """

    value: float
    parts: Mapping[str, float]


class GlueMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is not typed
    """The common frame of the metrics below, whose docstrings are their descriptions."""

    regression: ClassVar[bool] = False

    def _info(self) -> evaluate.MetricInfo:
        value = Value("float64" if self.regression else "int64")
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="Wang et al. 2019, arXiv 1804.07461",
            inputs_description="",
            features=Features({"predictions": value, "references": value}),
            format="numpy",
        )


class MatthewsCorrelation(GlueMetric):
    """Matthews correlation coefficient; 0 where predictions or references are constant."""

    def _compute(self, predictions: NDArray[np.int64], references: NDArray[np.int64]) -> Parts:
        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


class Accuracy(GlueMetric):
    """Share of predictions that are right."""

    def _compute(self, predictions: NDArray[np.int64], references: NDArray[np.int64]) -> Parts:
        return {"accuracy": float(accuracy_score(references, predictions))}


class AccuracyAndF1(GlueMetric):
    """Accuracy, and F1 of class 1 of two; F1 is 0 where class 1 is neither there nor predicted."""

    def _compute(self, predictions: NDArray[np.int64], references: NDArray[np.int64]) -> Parts:
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "f1": float(f1_score(references, predictions, zero_division=0.0)),
        }


class PearsonAndSpearman(GlueMetric):
    """Pearson's and Spearman's correlation; 0 where either side is constant or not finite."""

    regression: ClassVar[bool] = True

    def _compute(self, predictions: NDArray[np.float64], references: NDArray[np.float64]) -> Parts:
        if not (_varies(predictions) and _varies(references)):
            return {"pearson": 0.0, "spearman": 0.0}
        return {
            "pearson": float(stats.pearsonr(predictions, references).statistic),
            "spearman": float(stats.spearmanr(predictions, references).statistic),
        }


METRICS: Mapping[str, type[GlueMetric]] = {
    "matthews_correlation": MatthewsCorrelation,
    "accuracy": Accuracy,
    "accuracy_and_f1": AccuracyAndF1,
    "pearson_and_spearman": PearsonAndSpearman,
}


def compute_score(metric: str, predictions: Labels, references: Labels) -> Score:
    """Score predictions against the true labels.

    Args:
        metric: A key of `METRICS`.
        predictions: Class ids, or scores for a regression metric.
        references: The true ones, as many.

    Raises:
        TaskError: The metric is not known.
        ValueError: There are no predictions, or not as many as references.
    """
    if len(predictions) != len(references) or not len(references):
        raise ValueError(
            f"a score needs one prediction per reference and at least one of each, "
            f"got {len(predictions)} and {len(references)}"
        )
    kind = _find_metric(metric)
    # evaluate makes a folder even where it keeps everything in memory; one of its own keeps
    # processes apart and the user's cache clean.
    with tempfile.TemporaryDirectory() as folder:
        metric_object = kind(keep_in_memory=True, cache_dir=folder)
        parts = metric_object.compute(predictions=predictions, references=references)
    return Score(value=math.fsum(parts.values()) / len(parts), parts=parts)


def compute_majority_score(metric: str, train_labels: Labels, references: Labels) -> Score:
    """Score the predictor that always answers train's majority class, or its mean score.

    Of classes equally frequent the smallest id is taken.
    """
    if _find_metric(metric).regression:
        answer = math.fsum(train_labels) / len(train_labels)
    else:
        counts = Counter(train_labels)
        answer = min(counts, key=lambda label: (-counts[label], label))
    return compute_score(metric, [answer] * len(references), references)


def _find_metric(metric: str) -> type[GlueMetric]:
    if metric not in METRICS:
        raise TaskError(describe_unknown("metric", metric, METRICS))
    return METRICS[metric]


def _varies(values: NDArray[np.float64]) -> bool:
    """Whether a correlation is defined, by a margin above what scipy warns of."""
    if not np.isfinite(values).all():
        return False
    return bool(np.ptp(values) > 1e-12 * np.abs(values).max())
