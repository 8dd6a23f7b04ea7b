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

Array = NDArray[np.number]

SCORERS: Sequence[str] = tuple(get_scorer_names())
"""The names that scikit-learn gives its scorers, such as `f1_macro` or `roc_auc`."""


# scikit-learn would compute these of several labels too, as if they were classes.
_OF_ONE_CLASS = ("log_loss", "log_loss_score", "brier_score")


class ScorerMetric:
    """One of scikit-learn's scorers, of predictions that a model of another kind made.

    Args:
        name: One of `SCORERS`.
    """

    def __init__(self, name: str) -> None:
        self._name, self._scorer = name, get_scorer(name)
        # scikit-learn has no public way to ask what a scorer takes.
        self.takes_probabilities: bool = self._scorer._response_method != "predict"

    def compute(self, predictions: Array, references: Array) -> float:
        """Score predictions.

        Args:
            predictions: Class ids, or scores, of shape (N,); the probabilities of all classes, of
                shape (N, C), if the scorer takes probabilities. For several labels always of shape
                (N, L).
            references: True class ids or scores, shape (N,); or labels, shape (N, L).

        Returns:
            The score; NaN for probabilities if all references are alike.

        Raises:
            ValueError: If the scorer cannot score such predictions.
        """
        if references.ndim == 2 and self._name.endswith(_OF_ONE_CLASS):
            raise ValueError("it is of one class for each example, not of several labels")
        # An undefined value is what it is, and F1 of a class that is never predicted is 0.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._name.endswith(_OF_ONE_CLASS):
                # Of all classes, also of those that do not occur among these examples.
                every = np.arange(predictions.shape[1])
                loss = self._scorer._score_func(references, predictions, labels=every)
                return float(self._scorer._sign * loss)
            if self.takes_probabilities:
                predictions, references = _keep_present(predictions, references)
                if not predictions.shape[1]:
                    return math.nan
            kind = _Regressor if np.issubdtype(references.dtype, np.floating) else _Classifier
            return float(self._scorer(kind(references), predictions, references))


def _keep_present(probabilities: Array, references: Array) -> tuple[Array, Array]:
    """Leave out classes of which no curve is defined, as ROC-AUC and average precision need one.

    They are those that do not occur, and labels that every example has or none.
    """
    if references.ndim == 2:
        varies_L = references.min(axis=0) < references.max(axis=0)
        probabilities, references = probabilities[:, varies_L], references[:, varies_L]
        if varies_L.sum() != 1:
            return probabilities, references
        # One label alone is a task of two classes.
        return np.hstack([1 - probabilities, probabilities]), references[:, 0]
    present, references = np.unique(references, return_inverse=True)
    if len(present) < 2:
        return probabilities[:, :0], references
    # A little of each class, as of those that are left none may be likely.
    some_NC = probabilities[:, present].astype(np.float64) + np.finfo(float).tiny
    return some_NC / some_NC.sum(axis=1, keepdims=True), references


class _Regressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is not typed
    """Predicts what it is given, so that a scorer scores predictions."""

    def __init__(self, references: Array) -> None:
        self.references = references

    def predict(self, X: Array) -> Array:
        return X


class _Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The same for classes and their probabilities."""

    def __init__(self, references: Array) -> None:
        self.references = references
        # Of several labels their number, but more than two: scikit-learn takes two for a choice.
        of_labels = np.arange(max(3, references.shape[-1]))
        self.classes_ = of_labels if references.ndim == 2 else np.unique(references)

    def predict(self, X: Array) -> Array:
        return X

    def predict_proba(self, X: Array) -> Array:
        return X


def list_relatives(name: str) -> list[str]:
    """List the scorers of the same measure with another average, such as `f1_macro` for `f1`."""
    return [other for other in SCORERS if other.startswith(f"{name}_")]


def list_nearest(name: str, others: Sequence[str] = ()) -> list[str]:
    """List up to three metrics whose names are nearest to one that is not known."""
    return difflib.get_close_matches(name, sorted({*SCORERS, *others}), n=3, cutoff=0.5)
