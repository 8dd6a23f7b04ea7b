"""Load a metric by its name: ours, scikit-learn's, a user's function, or one of evaluate's."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import evaluate
import numpy as np
from numpy.typing import NDArray

from allocator.data.scoring.function_metrics import FunctionMetric
from allocator.data.scoring.glue_metrics import METRICS, Components
from allocator.data.scoring.metric_names import split_function
from allocator.data.scoring.scorer_metrics import (
    SCORERS,
    ScorerMetric,
    list_nearest,
)
from allocator.errors import TaskError
from allocator.hub import find_hub_problem, first_line

Array = NDArray[np.number]
LabelArray = Sequence[float] | Sequence[Sequence[float]] | Array
"""Class ids, scores for regression, or rows of 0 and 1, one for each of several labels."""

_PATIENCE = 4.0  # seconds to wait for the hub's first answer, as for models and data

# Columns of tables, keys of files and attributes of trials. A component of the same name would
# overwrite the number there.
RESERVED_COMPONENTS = frozenset(
    "name seed trial step ending score scored_on best_score loss train_loss calibrated_loss "
    "majority_loss calibration calibration_scale calibration_intercept num_parameters "
    "head_parameters seconds measures components given_up reason purpose rival round "
    "position".split()
)


class Metric(Protocol):
    """What computes a score from arrays of predictions and references."""

    def compute(self, predictions: Array, references: Array) -> object:
        """Return a number, or a dictionary of numbers by their names."""
        ...


class LoadedMetric:
    """One metric, loaded once per process and safe to use from several threads.

    Args:
        name: Its name, for messages.
        metric: The metric.
        component: Name of the number if the metric returns one without a name.
        takes_probabilities: Whether it takes the probabilities of classes instead of their ids.
    """

    def __init__(
        self, name: str, metric: Metric, *, component: str = "", takes_probabilities: bool = False
    ) -> None:
        self.takes_probabilities = takes_probabilities
        self.name, self._metric, self._component = name, metric, component
        self._lock = threading.Lock()  # evaluate's metrics collect their inputs in attributes

    def compute(self, predictions: LabelArray, references: LabelArray) -> Components:
        """Compute the metric's components.

        Args:
            predictions: Class ids, or scores for regression; the probabilities of all classes,
                of shape (N, C), if the metric takes probabilities.
            references: The true classes or scores, as many.

        Returns:
            The numbers in the dictionary that the metric returns, by their keys, or the number that
            it returns. NaN becomes 0, and infinity the largest number. Values of other types are
            left out.

        Raises:
            TaskError: If the metric fails, or answers without a number.
        """
        with self._lock:
            try:
                answer = self._metric.compute(
                    predictions=np.asarray(predictions), references=np.asarray(references)
                )
            except Exception as error:
                load_metric.cache_clear()  # a metric that failed keeps the inputs it was given
                raise TaskError(f"metric {self.name} fails: {first_line(error)}") from error
        named = answer if isinstance(answer, Mapping) else {self._component: answer}
        numbers = {
            str(name): float(value)
            for name, value in named.items()
            if isinstance(value, int | float | np.integer | np.floating)
            # A bool is an int in Python.
            and not isinstance(value, bool)
        }
        if not numbers:
            raise TaskError(f"metric {self.name} must return a number, got {answer!r}")
        # Undefined values, such as a correlation with a constant, count as none; the log of a
        # probability of 0 stays worse than that of any other.
        return {name: float(np.nan_to_num(value)) for name, value in numbers.items()}


@functools.cache
def load_metric(name: str) -> LoadedMetric:
    """Load a metric, once per process.

    Args:
        name: A key of `METRICS`, a scorer of scikit-learn, or another name that `resolve_metric`
            returns. A metric of this package comes before a scorer, and a scorer before an id on
            the hub.

    Raises:
        TaskError: If the metric does not exist, or cannot be loaded.
    """
    if name in METRICS:
        # evaluate makes a folder even for a metric that keeps everything in memory; a temporary
        # one keeps the user's cache clean.
        with tempfile.TemporaryDirectory() as folder:
            return LoadedMetric(name, METRICS[name](keep_in_memory=True, cache_dir=folder))
    if name in SCORERS:
        scorer = ScorerMetric(name)
        return LoadedMetric(
            name, scorer, component=name, takes_probabilities=scorer.takes_probabilities
        )
    if (parts := split_function(name)) is not None:
        module, function = parts
        of_user = FunctionMetric(module, function)
        is_reserved = function in RESERVED_COMPONENTS
        return LoadedMetric(
            name,
            of_user,
            component=f"{Path(module).stem}_{function}" if is_reserved else function,
            takes_probabilities=of_user.takes_probabilities,
        )
    return LoadedMetric(name, _EvaluateMetric(_load_with_evaluate(name)))


class _EvaluateMetric:
    """A metric that evaluate loaded, which may not convert its inputs from arrays."""

    def __init__(self, metric: evaluate.EvaluationModule) -> None:
        self._metric = metric

    def compute(self, predictions: Array, references: Array) -> object:
        answer: object = self._metric.compute(
            predictions=predictions.tolist(), references=references.tolist()
        )
        return answer


def _load_with_evaluate(name: str) -> evaluate.EvaluationModule:
    is_path = Path(name).is_absolute()
    if is_path and not Path(name).exists():
        raise TaskError(f"metric script {name} does not exist")
    reason = None if is_path else find_hub_problem(_PATIENCE)
    try:
        with _stay_offline() if reason else contextlib.nullcontext():
            return evaluate.load(name, module_type="metric", keep_in_memory=True)
    except Exception as error:  # a user's script may raise anything
        if is_path:
            raise TaskError(f"metric script {name}: {first_line(error)}") from error
        nearest = " or ".join(map(repr, list_nearest(name, tuple(METRICS))))
        raise TaskError(
            f"unknown metric {name!r}: {f'did you mean {nearest}? ' if nearest else ''}"
            f"it is none of {', '.join(METRICS)}, no scorer of scikit-learn, no package.module:"
            "function, no metric script, and no id that evaluate can load "
            f"({reason or first_line(error)})"
        ) from error


@contextlib.contextmanager
def _stay_offline() -> Iterator[None]:
    """Restrict evaluate to its cache: without a network it may wait 100 s for each address."""
    # As for `datasets`: the environment is read only when evaluate is imported.
    before = evaluate.config.HF_EVALUATE_OFFLINE
    evaluate.config.HF_EVALUATE_OFFLINE = True
    try:
        yield
    finally:
        evaluate.config.HF_EVALUATE_OFFLINE = before
