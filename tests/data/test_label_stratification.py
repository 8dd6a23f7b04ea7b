"""Parts of examples with several labels: each label keeps its share."""

import dataclasses

import numpy as np
import pytest

from allocator.data.held_out import split_held_out
from allocator.data.label_stratification import draw_by_labels
from allocator.data.limited_examples import limit_splits
from allocator.data.remarks import list_remarks
from allocator.data.tasks import Examples, Task
from allocator.errors import DataError, TaskError

SHARES = np.array([0.5, 0.1, 0.02])
LABELS = (np.random.default_rng(0).random((1000, 3)) < SHARES).astype(np.int64)
TASK = Task(
    name="own",
    text_columns=("text",),
    label_column="tags",
    labels=("a", "b", "c"),
    metric="f1_micro",
    is_multi_label=True,
)


def make_examples(labels: np.ndarray) -> Examples:
    return Examples(
        inputs=tuple((f"text {i}",) for i in range(len(labels))),
        labels=tuple(map(tuple, labels.tolist())),
    )


@pytest.mark.parametrize("size", [1, 100, 250, 999])
def test_the_drawn_have_every_label_as_often_as_all_of_them(size: int) -> None:
    drawn = draw_by_labels(LABELS, size, seed=0)
    assert len(np.unique(drawn)) == size
    assert np.all(np.diff(drawn) > 0)
    counts = LABELS[drawn].sum(axis=0)
    assert counts == pytest.approx(LABELS.sum(axis=0) * size / 1000, abs=1.5)


def test_the_seed_alone_decides_which_are_drawn() -> None:
    drawn = draw_by_labels(LABELS, 100, seed=1)
    assert np.array_equal(drawn, draw_by_labels(LABELS, 100, seed=1))
    assert not np.array_equal(drawn, draw_by_labels(LABELS, 100, seed=2))


def test_seeds_hold_out_parts_with_the_same_labels() -> None:
    train = make_examples(LABELS)
    kept, held_out = split_held_out(train, task=TASK, seed=3)
    assert (len(kept), len(held_out)) == (750, 250)
    assert sorted([*kept, *held_out]) == list(range(1000))
    counts = train.select(held_out.tolist()).label_array.sum(axis=0)
    assert counts == pytest.approx(LABELS.sum(axis=0) / 4, abs=1.5)
    with pytest.raises(DataError, match="train is too small to hold out an example: 0 of 1 exam"):
        split_held_out(train.select([0]), task=TASK, seed=0)


def test_a_limit_keeps_the_labels_too() -> None:
    train = make_examples(LABELS)
    kept, dev = limit_splits(train, train.select(range(50)), task=TASK, limit=100)
    assert (len(kept), len(dev)) == (100, 50)
    assert kept.label_array.sum(axis=0) == pytest.approx(LABELS.sum(axis=0) / 10, abs=1.5)
    with pytest.raises(TaskError, match=r"limit must be at least 4 \(4 examples, so that"):
        limit_splits(train, train, task=TASK, limit=3)


def test_labels_that_are_rare_or_missing_are_said() -> None:
    labels = np.zeros((200, 3), dtype=np.int64)
    labels[:, 0] = 1
    labels[:2, 1] = 1
    train, dev = make_examples(labels), make_examples(np.ones((5, 3), dtype=np.int64))
    uneven, missing = list_remarks(TASK, train, dev)
    assert uneven == (
        "label 'a' has 100 times as many examples of train as 'b' (200 and 2); "
        "see that the metric is one in which rare labels count"
    )
    assert missing == "train has no example of 'c'"
    none = make_examples(np.zeros((4, 3), dtype=np.int64))
    renamed = dataclasses.replace(TASK, labels=("x", "y", "z"))
    assert list_remarks(renamed, none, dev) == ("train has no example of 'x', 'y', 'z'",)
