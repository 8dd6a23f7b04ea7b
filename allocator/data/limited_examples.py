"""Limit the number of examples of a task, for a quick look at it."""

from __future__ import annotations

import numpy as np

from allocator.data.held_out import SMALLEST_ROOM, Indices, draw_one_per_bin
from allocator.data.label_stratification import draw_by_labels
from allocator.data.tasks import Examples, Task
from allocator.errors import TaskError

_SEED = 0  # fixed, so that studies with other seeds look at the same examples


def limit_splits(
    train: Examples, dev: Examples, *, task: Task, limit: int
) -> tuple[Examples, Examples]:
    """Keep at most `limit` examples of train and of dev.

    Classes keep their proportions, with at least two examples in train and one in dev if they have
    as many; so do labels of which an example may have several, without a minimum; for regression,
    one score is drawn from each of `limit` quantile bins. Which examples are kept depends only on
    the data and the limit. They keep the order of the files.

    Args:
        train: The training split.
        dev: The official dev split.
        task: Whether labels are classes.
        limit: Largest number of examples in each split.

    Raises:
        TaskError: If the limit is not a positive integer, or too small to hold out a portion of
            train.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise TaskError(f"limit must be a positive integer, got {limit!r}; raise it or drop it")
    if task.is_regression:
        _check_room(train, limit, 1, "scores")
        return _spread_scores(train, limit), _spread_scores(dev, limit)
    if task.is_multi_label:
        _check_room(train, limit, 1, "examples")
        return _keep_labels(train, limit), _keep_labels(dev, limit)
    classes = len({*train.label_array.tolist(), *dev.label_array.tolist()})
    _check_room(train, limit, classes, f"for each of {classes} classes")
    # Two of each class in train: one to train on and one to hold out.
    return _keep_classes(train, limit, 2), _keep_classes(dev, limit, 1)


def _check_room(train: Examples, limit: int, needed: int, what: str) -> None:
    """Refuse a limit that leaves fewer examples than `split_held_out` can divide."""
    # A train split of at most `limit` examples is kept whole, whatever its size.
    if limit < max(needed, min(len(train), SMALLEST_ROOM * needed)):
        raise TaskError(
            f"limit must be at least {SMALLEST_ROOM * needed} ({SMALLEST_ROOM} {what}, so that a "
            f"part of train can be held out), got {limit}; raise it or drop it"
        )


def _spread_scores(examples: Examples, limit: int) -> Examples:
    if len(examples) <= limit:
        return examples
    scores = examples.label_array.astype(np.float64)
    return _select(examples, draw_one_per_bin(scores, limit, _SEED))


def _keep_labels(examples: Examples, limit: int) -> Examples:
    if len(examples) <= limit:
        return examples
    return _select(examples, draw_by_labels(examples.label_array.astype(np.int64), limit, _SEED))


def _keep_classes(examples: Examples, limit: int, minimum: int) -> Examples:
    if len(examples) <= limit:
        return examples
    rng = np.random.default_rng(_SEED)
    labels = examples.label_array
    classes, counts = np.unique(labels, return_counts=True)
    sizes = _apportion(counts, limit, minimum)
    chosen = [
        rng.permutation(np.flatnonzero(labels == class_))[:size]
        for class_, size in zip(classes, sizes, strict=True)
    ]
    return _select(examples, np.concatenate(chosen))


def _apportion(counts: Indices, limit: int, minimum: int) -> Indices:
    """Divide `limit` places in proportion to counts (largest remainders), none below `minimum`."""
    shares = limit * counts / counts.sum()
    least = np.minimum(counts, minimum)
    sizes: Indices = np.maximum(np.floor(shares).astype(np.intp), least)
    # Both loops end: the limit is below the sum of `counts`, and not below the sum of `least`.
    # The next place goes to the class furthest below its share.
    while sizes.sum() < limit:
        sizes[np.argmax(np.where(sizes < counts, shares - sizes, -np.inf))] += 1
    while sizes.sum() > limit:  # the places of small classes are taken from the others
        sizes[np.argmax(np.where(sizes > least, sizes - shares, -np.inf))] -= 1
    return sizes


def _select(examples: Examples, indices: Indices) -> Examples:
    return examples.select(np.sort(indices).tolist())
