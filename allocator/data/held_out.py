"""Hold out the part of train that a seed's trainings are scored on, so that dev stays unseen."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from allocator.data.label_stratification import draw_by_labels
from allocator.data.tasks import Examples, Task
from allocator.errors import DataError

HELD_OUT = 0.25
"""Fraction of train that is held out by default."""

LARGEST_PART = 5_000
"""Largest number of examples that are held out: more would cost time and tell little."""

SMALLEST_ROOM = 4
"""Examples of train for each one that must be held out by default, such as one of each class."""

Indices = NDArray[np.intp]


def split_held_out(
    train: Examples,
    *,
    task: Task,
    seed: int,
    fraction: float = HELD_OUT,
    largest: int | None = LARGEST_PART,
) -> tuple[Indices, Indices]:
    """Hold out a stratified part of train.

    Its size is `fraction` of the examples, but at most `largest`: 2,138 of CoLA's 8,551. It is
    the same for all seeds. Classes and labels keep their proportions. For regression the sorted
    scores are divided into as many quantile bins as examples are held out, and one is drawn from
    each.

    Args:
        train: The training split.
        task: Whether labels are classes, and their names.
        seed: Seed of the choice of examples.
        fraction: Fraction of train to hold out, between 0 and 1.
        largest: Largest number of examples to hold out; None for no such bound.

    Returns:
        Indices of the examples to train on, and of those held out, each in ascending order.

    Raises:
        DataError: If a part would be empty or too small for all classes, or a class has only one
            example.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    size = round(fraction * len(train))
    size = size if largest is None else min(size, largest)
    if task.is_regression:
        _check_room(train, size, 1, "a score", fraction)
        held_out = draw_one_per_bin(train.label_array.astype(np.float64), size, seed)
    elif task.is_multi_label:
        _check_room(train, size, 1, "an example", fraction)
        held_out = draw_by_labels(train.label_array.astype(np.int64), size, seed)
    else:
        # Checked here, because the errors of `train_test_split` would name neither task nor class.
        _check_classes(train, task)
        _check_room(train, size, len(np.unique(train.label_array)), "one of each class", fraction)
        held_out = _draw_by_class(train, size, seed)
    # `train_test_split` shuffles; both parts are put back into the order of train.
    return np.setdiff1d(np.arange(len(train)), held_out), np.sort(held_out)


def _check_room(train: Examples, size: int, needed: int, what: str, fraction: float) -> None:
    if min(size, len(train) - size) < needed:
        raise DataError(
            f"train is too small to hold out {what}: {size} of {len(train)} examples would be "
            f"held out and each part needs {needed}; at least "
            f"{math.ceil(needed / min(fraction, 1 - fraction))} are needed"
        )


def _check_classes(train: Examples, task: Task) -> None:
    for label, count in sorted(Counter(train.label_array.tolist()).items()):
        if count < 2:
            name = task.labels[label]
            alike = [other for other in task.labels if other.split() == name.split()]
            hint = f"; is it one with {alike[alike[0] == name]!r}?" if len(alike) > 1 else ""
            raise DataError(
                f"class {name!r} of task {task.name!r} has one example in train; it needs two, one "
                f"to train on and one to hold out{hint}"
            )


def _draw_by_class(train: Examples, size: int, seed: int) -> Indices:
    everything = np.arange(len(train))
    _, held_out = train_test_split(
        everything, test_size=size, random_state=seed, stratify=train.labels
    )
    return np.asarray(held_out, dtype=np.intp)


def draw_one_per_bin(scores: NDArray[np.float64], size: int, seed: int) -> Indices:
    """Draw one index from each of `size` quantile bins of the scores, in the order of the bins."""
    rng = np.random.default_rng(seed)
    # Ties are ordered at random, so that the order of the file does not decide what is drawn.
    order = np.lexsort((rng.permutation(len(scores)), scores))
    return np.array([rng.choice(bin_) for bin_ in np.array_split(order, size)], dtype=np.intp)
