"""Try a metric before anything trains by it."""

from __future__ import annotations

import math

import numpy as np

from allocator.data.scoring.glue_metrics import Components
from allocator.data.scoring.loaded_metrics import (
    RESERVED_COMPONENTS,
    Array,
    LoadedMetric,
    load_metric,
)
from allocator.data.scoring.scorer_metrics import list_relatives
from allocator.errors import TaskError


def require_answers(name: str, num_classes: int, *, is_multi_label: bool = False) -> None:
    """Try a metric on a few predictions, so that a mistake shows before anything trains.

    Args:
        name: As for `load_metric`.
        num_classes: Number of classes or labels; 0 for regression.
        is_multi_label: Whether an example may have any number of the labels.

    Raises:
        TaskError: If the metric cannot be loaded, fails, answers without a number or under a name
            that reports use, or is not higher for right predictions than for wrong ones.
    """
    metric = load_metric(name)
    try:
        right, wrong = _try_predictions(metric, num_classes, is_multi_label)
    except TaskError as error:
        others = [
            other for other in list_relatives(name) if _answers(other, num_classes, is_multi_label)
        ]
        hint = f"; {', '.join(others)} would not" if others else ""
        raise TaskError(f"{error}{hint}") from error
    if reserved := sorted(RESERVED_COMPONENTS & right.keys()):
        raise TaskError(
            f"metric {name} must not return a number named {', '.join(reserved)}, which reports "
            "use for another number; rename it"
        )
    if _average(right) <= _average(wrong):
        raise TaskError(
            f"metric {name} must be higher for better predictions, got {_average(right):g} for "
            f"right ones and {_average(wrong):g} for wrong ones"
        )


def _try_predictions(
    metric: LoadedMetric, num_classes: int, is_multi_label: bool
) -> tuple[Components, Components]:
    """Compute a metric of right and of wrong predictions, and of some that a training may make."""
    labels, wrong, constant = _make_predictions(num_classes, is_multi_label)

    def compute(predictions: Array) -> Components:
        if metric.takes_probabilities:
            if not num_classes:
                raise TaskError(
                    f"metric {metric.name} takes probabilities of classes, which a regression lacks"
                )
            sure = predictions if is_multi_label else np.eye(num_classes)[predictions]
            predictions = (0.1 + sure) / (1.2 if is_multi_label else 1 + 0.1 * num_classes)
        return metric.compute(predictions, labels)

    compute(constant)
    return compute(labels), compute(wrong)


def _make_predictions(num_classes: int, is_multi_label: bool) -> tuple[Array, Array, Array]:
    """Make labels, which are right predictions, then wrong ones, and some that are all alike."""
    if is_multi_label:
        # Every label occurs, and is absent.
        labels_NL = np.eye(num_classes, dtype=np.int64)
        return labels_NL, 1 - labels_NL, np.zeros_like(labels_NL)
    if num_classes:
        # Every class occurs. Rotated by one place, no class is right.
        labels_N = np.array([*range(num_classes)] * 2)
        return labels_N, np.roll(labels_N, -1), np.zeros_like(labels_N)
    # Reversed, scores correlate at -1. A regression may predict less than 0, whatever its labels.
    scores_N = np.arange(4.0)
    return scores_N, scores_N[::-1], np.full(4, -1.0)


def _answers(name: str, num_classes: int, is_multi_label: bool) -> bool:
    try:
        _try_predictions(load_metric(name), num_classes, is_multi_label)
    except TaskError:
        return False
    return True


def _average(components: Components) -> float:
    return math.fsum(components.values()) / len(components)
