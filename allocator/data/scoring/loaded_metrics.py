"""Load a metric by its name: one of this package, or any that `evaluate.load` can load."""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import evaluate
import numpy as np
from numpy.typing import NDArray

from allocator.data.scoring.glue_metrics import METRICS, Components
from allocator.errors import TaskError, describe_unknown
from allocator.hub import find_hub_problem, first_line

Labels = Sequence[float] | NDArray[np.number]
"""Class ids, or scores for regression."""

_PATIENCE = 4.0  # seconds to wait for the hub's first answer, as for models and data

# Columns of tables, keys of files and attributes of trials. A component of the same name would
# overwrite the number there.
RESERVED_COMPONENTS = frozenset(
    "name seed trial step ending score scored_on best_score loss train_loss calibrated_loss "
    "majority_loss calibration calibration_scale calibration_intercept num_parameters "
    "head_parameters seconds measures components given_up reason purpose rival round "
    "position".split()
)


class LoadedMetric:
    """One metric, loaded once per process and safe to use from several threads.

    Args:
        name: Its name, for messages.
        metric: The metric; it must keep its inputs in memory.
    """

    def __init__(self, name: str, metric: evaluate.EvaluationModule) -> None:
        self._name, self._metric = name, metric
        self._lock = threading.Lock()  # a metric collects its inputs in its attributes

    def compute(self, predictions: Labels, references: Labels) -> Components:
        """Compute the metric's components.

        Args:
            predictions: Class ids, or scores for regression.
            references: The true classes or scores, as many.

        Returns:
            The numbers in the dictionary that the metric returns, by their keys; those that are
            not finite become 0. Values of other types are left out.

        Raises:
            TaskError: If the metric fails, or answers without a number.
        """
        with self._lock:
            try:
                answer = self._metric.compute(predictions=predictions, references=references)
            except Exception as error:
                load_metric.cache_clear()  # a metric that failed keeps the inputs it was given
                raise TaskError(f"metric {self._name} fails: {first_line(error)}") from error
        numbers = {
            str(name): float(value)
            for name, value in (answer or {}).items()
            if isinstance(value, int | float | np.integer | np.floating)
            # A bool is an int in Python.
            and not isinstance(value, bool)
        }
        if not numbers:
            raise TaskError(f"metric {self._name} must return a number, got {answer!r}")
        # Undefined values, such as a correlation with a constant, count as none.
        return {name: value if math.isfinite(value) else 0.0 for name, value in numbers.items()}


@functools.cache
def load_metric(name: str) -> LoadedMetric:
    """Load a metric, once per process.

    Args:
        name: A key of `METRICS`, the absolute path of a metric script (or of a folder that holds a
            script of the folder's name), or an id on the Hugging Face hub such as `f1`.

    Raises:
        TaskError: If the metric does not exist, or cannot be loaded.
    """
    if name in METRICS:
        # evaluate makes a folder even for a metric that keeps everything in memory; a temporary
        # one keeps the user's cache clean.
        with tempfile.TemporaryDirectory() as folder:
            return LoadedMetric(name, METRICS[name](keep_in_memory=True, cache_dir=folder))
    is_path = Path(name).is_absolute()
    if is_path and not Path(name).exists():
        raise TaskError(f"metric script {name} does not exist")
    reason = None if is_path else find_hub_problem(_PATIENCE)
    try:
        with _stay_offline() if reason else contextlib.nullcontext():
            metric = evaluate.load(name, module_type="metric", keep_in_memory=True)
    except Exception as error:  # a user's script may raise anything
        if is_path:
            raise TaskError(f"metric script {name}: {first_line(error)}") from error
        raise TaskError(
            f"{describe_unknown('metric', name, METRICS)}; nor is it a metric script or an id that "
            f"evaluate can load ({reason or first_line(error)})"
        ) from error
    return LoadedMetric(name, metric)


def require_answers(name: str, num_classes: int) -> None:
    """Try a metric on a few predictions, so that a mistake shows before anything trains.

    Args:
        name: As for `load_metric`.
        num_classes: Number of classes; 0 for regression.

    Raises:
        TaskError: If the metric cannot be loaded, fails, answers without a number or under a name
            that reports use, or is lower for right predictions than for wrong ones.
    """
    # Every class occurs. Rotated by one place no class is right; reversed, scores correlate at -1.
    labels: list[int] | list[float] = [*range(num_classes)] * 2 or [0.0, 1.0, 2.0, 3.0]
    right = load_metric(name).compute(labels, labels)
    wrong = load_metric(name).compute(
        [*labels[1:], labels[0]] if num_classes else labels[::-1], labels
    )
    if reserved := sorted(RESERVED_COMPONENTS & right.keys()):
        raise TaskError(
            f"metric {name} must not return a number named {', '.join(reserved)}, which reports "
            "use for another number; rename it"
        )
    if _average(right) < _average(wrong):
        raise TaskError(
            f"metric {name} must be higher for better predictions, got {_average(right):g} for "
            f"right ones and {_average(wrong):g} for wrong ones"
        )


def _average(components: Components) -> float:
    return math.fsum(components.values()) / len(components)


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
