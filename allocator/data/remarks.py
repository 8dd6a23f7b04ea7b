"""What a user should know about a task's data before anything trains on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from allocator.data.tasks import Examples, Task

_UNEVEN = 99  # times as many examples of one class as of another that are worth a remark


def list_remarks(task: Task, train: Examples, dev: Examples) -> tuple[str, ...]:
    """List what is doubtful about a task's texts and classes, each in a sentence.

    Args:
        task: The task.
        train: Its training split.
        dev: Its official dev split.
    """
    blanks = (*_find_blank_texts(train, "train"), *_find_blank_texts(dev, "dev"))
    if task.is_regression:
        return blanks
    return (
        *blanks,
        *_find_names_alike(task),
        *_find_uneven_classes(task, train),
        *_find_missing_classes(task, train, "train"),
        *_find_missing_classes(task, dev, "dev"),
    )


def _find_blank_texts(examples: Examples, split: str) -> Iterator[str]:
    blank = sum(not any(text.strip() for text in texts) for texts in examples.inputs)
    if blank:
        yield f"{blank:,} of the {len(examples):,} examples of {split} have no text"


def _find_names_alike(task: Task) -> Iterator[str]:
    """Find classes whose names differ only by spaces, or upper and lower case."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in task.labels:
        alike[" ".join(name.casefold().split())].append(name)
    for names in alike.values():
        if len(names) > 1:
            yield (
                f"classes {' and '.join(map(repr, names))} differ only by spaces or capitals; "
                "write them alike if they are one"
            )


def _find_uneven_classes(task: Task, train: Examples) -> Iterator[str]:
    counts = _count_labels(task, train)
    if task.is_multi_label and len(counts) < 2:
        return
    (largest, most), (smallest, fewest) = counts.most_common()[0], counts.most_common()[-1]
    if most >= _UNEVEN * fewest:
        kind = "label" if task.is_multi_label else "class"
        yield (
            f"{kind} {largest!r} has {most // fewest:,} times as many examples of train as "
            f"{smallest!r} ({most:,} and {fewest:,}); see that the metric is one in which rare "
            f"{'labels' if task.is_multi_label else 'classes'} count"
        )


def _find_missing_classes(task: Task, examples: Examples, split: str) -> Iterator[str]:
    present = _count_labels(task, examples)
    missing = [repr(name) for name in task.labels if name not in present]
    if missing:
        yield f"{split} has no example of {', '.join(missing)}"


def _count_labels(task: Task, examples: Examples) -> Counter[str]:
    """Count the examples of each class or label that has any."""
    labels = examples.label_array
    counts = labels.sum(axis=0) if task.is_multi_label else np.bincount(labels.astype(np.intp))
    return Counter({task.labels[i]: int(count) for i, count in enumerate(counts) if count})
