"""GLUE's metrics as `evaluate.Metric` classes that need no download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import evaluate
import numpy as np
from datasets import Features, Value
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Components = dict[str, float]


class GlueMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is not typed
    """Base class of the metrics below, whose docstrings are their descriptions."""

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
    """Matthews correlation coefficient; 0 if predictions or references are constant."""

    def _compute(self, predictions: NDArray[np.int64], references: NDArray[np.int64]) -> Components:
        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


class Accuracy(GlueMetric):
    """Fraction of predictions that are right."""

    def _compute(self, predictions: NDArray[np.int64], references: NDArray[np.int64]) -> Components:
        return {"accuracy": float(accuracy_score(references, predictions))}


class AccuracyAndF1(GlueMetric):
    """Accuracy, and F1 of class 1 of two; F1 is 0 if class 1 neither occurs nor is predicted."""

    def _compute(self, predictions: NDArray[np.int64], references: NDArray[np.int64]) -> Components:
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "f1": float(f1_score(references, predictions, zero_division=0.0)),
        }


class PearsonAndSpearman(GlueMetric):
    """Pearson's and Spearman's correlation; 0 if either side is constant or not finite."""

    regression: ClassVar[bool] = True

    def _compute(
        self, predictions: NDArray[np.float64], references: NDArray[np.float64]
    ) -> Components:
        # scipy answers NaN with a warning if a side is constant, and a score is never NaN.
        if not (_has_variation(predictions) and _has_variation(references)):
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


def _has_variation(values: NDArray[np.float64]) -> bool:
    """Whether values vary enough for a correlation, with a margin above scipy's warning."""
    if not np.isfinite(values).all():
        return False
    # scipy warns where the norm of the deviations is below 1e-13 of the mean.
    return bool(np.ptp(values) > 1e-12 * np.abs(values).max())
