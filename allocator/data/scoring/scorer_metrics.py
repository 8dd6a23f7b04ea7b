"""scikit-learn's scorers as metrics of predictions."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names

SCORERS: Sequence[str] = tuple(get_scorer_names())
"""The names that scikit-learn gives its scorers, such as `f1_macro` or `roc_auc`."""


class ScorerMetric:
    """One of scikit-learn's scorers, of predictions that a model of another kind made.

    Args:
        name: One of `SCORERS`.
    """

    def __init__(self, name: str) -> None:
        self._scorer = get_scorer(name)
        # scikit-learn has no public way to ask what a scorer takes.
        self.takes_probabilities: bool = self._scorer._response_method != "predict"

    def compute(self, predictions: NDArray[np.number], references: NDArray[np.number]) -> float:
        """Score predictions.

        Args:
            predictions: Class ids, or scores, of shape (N,); the probabilities of all classes, of
                shape (N, C), if the scorer takes probabilities.
            references: True class ids or scores, shape (N,).

        Returns:
            The score; NaN for probabilities if all references are of one class.
        """
        if self.takes_probabilities:
            # Of a class that does not occur neither ROC-AUC nor average precision is defined.
            present, references = np.unique(references, return_inverse=True)
            if len(present) < 2:
                return math.nan
            # A little of each class, as of those that are left none may be likely.
            predictions = predictions[:, present].astype(np.float64) + np.finfo(float).tiny
            predictions = predictions / predictions.sum(axis=1, keepdims=True)
        kind = _Regressor if np.issubdtype(references.dtype, np.floating) else _Classifier
        # An undefined value is what it is, and F1 of a class that is never predicted is 0.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(self._scorer(kind(references), predictions, references))


class _Regressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is not typed
    """Predicts what it is given, so that a scorer scores predictions."""

    def __init__(self, references: NDArray[np.number]) -> None:
        self.references = references

    def predict(self, X: NDArray[np.number]) -> NDArray[np.number]:
        return X


class _Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The same for classes and their probabilities."""

    def __init__(self, references: NDArray[np.number]) -> None:
        self.references = references
        self.classes_ = np.unique(references)

    def predict(self, X: NDArray[np.number]) -> NDArray[np.number]:
        return X

    def predict_proba(self, X: NDArray[np.number]) -> NDArray[np.number]:
        return X


def list_relatives(name: str) -> list[str]:
    """List the scorers of the same measure with another average, such as `f1_macro` for `f1`."""
    return [other for other in SCORERS if other.startswith(f"{name}_")]


def list_nearest(name: str, others: Sequence[str] = ()) -> list[str]:
    """List up to three metrics whose names are nearest to one that is not known."""
    return difflib.get_close_matches(name, sorted({*SCORERS, *others}), n=3, cutoff=0.5)
