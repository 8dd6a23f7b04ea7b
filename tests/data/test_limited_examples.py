"""A look at a few examples of a task: which are kept, and what a study then knows them by."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from allocator.data.glue import GLUE
from allocator.data.held_out import split_held_out
from allocator.data.limited_examples import limit_splits
from allocator.data.sources import load_task
from allocator.data.tasks import Examples, Task
from allocator.errors import TaskError

COLA, STSB = GLUE["cola"].task, GLUE["stsb"].task
COLORS = Task(
    name="colors",
    text_columns=("text",),
    label_column="color",
    labels=tuple("abcde"),
    metric="accuracy",
)


def examples(labels: list[int] | list[float]) -> Examples:
    return Examples(inputs=tuple((f"text {i}",) for i in range(len(labels))), labels=tuple(labels))


def is_in_file_order(kept: Examples, source: Examples) -> bool:
    places = [source.inputs.index(texts) for texts in kept.inputs]
    return places == sorted(places)


def test_classes_keep_their_shares_in_the_order_of_the_files() -> None:
    rng = np.random.default_rng(0)
    train = examples(rng.permutation([0] * 300 + [1] * 700).tolist())
    dev = examples([0] * 30 + [1] * 70)
    kept, kept_dev = limit_splits(train, dev, task=COLA, limit=50)
    assert Counter(kept.labels) == Counter(kept_dev.labels) == {0: 15, 1: 35}
    assert is_in_file_order(kept, train)
    assert is_in_file_order(kept_dev, dev)
    assert limit_splits(train, dev, task=COLA, limit=50) == (kept, kept_dev)


@pytest.mark.parametrize("limit", [20, 21, 37, 100])
def test_a_rare_class_keeps_two_so_that_a_part_can_be_held_out(limit: int) -> None:
    train = examples([0] * 990 + [1] * 500 + [2] * 2 + [3] * 3 + [4] * 20)
    kept, _ = limit_splits(train, train, task=COLORS, limit=limit)
    counts = Counter(kept.labels)
    assert len(kept) == limit
    assert min(counts.values()) == counts[2] == 2
    for seed in range(3):
        _, held_out = split_held_out(kept, task=COLORS, seed=seed)
        assert len(held_out) == limit // 4


def test_scores_spread_over_their_range() -> None:
    rng = np.random.default_rng(0)
    train = examples(rng.permutation(np.arange(1000.0)).tolist())
    kept, _ = limit_splits(train, train, task=STSB, limit=10)
    assert [int(score // 100) for score in np.sort(kept.label_array)] == list(range(10))
    assert is_in_file_order(kept, train)


def test_a_split_within_the_limit_is_kept_whole() -> None:
    train, dev = examples([0, 1] * 20), examples([0, 1] * 4)
    kept, kept_dev = limit_splits(train, dev, task=COLA, limit=10)
    assert len(kept) == 10
    assert kept_dev == dev
    assert limit_splits(dev, dev, task=COLA, limit=1_000) == (dev, dev)


@pytest.mark.parametrize(
    ("task", "labels", "limit", "message"),
    [
        (COLA, [0, 1] * 20, 7, "limit must be at least 8 (4 for each of 2 classes, so that a"),
        (STSB, [0.0, 1.0] * 20, 3, "limit must be at least 4 (4 scores, so that a part of"),
        (COLA, [0, 1] * 20, 0, "limit must be a positive integer, got 0; raise it or drop it"),
    ],
)
def test_a_limit_too_small_for_the_classes_is_refused(
    task: Task, labels: list[int], limit: int, message: str
) -> None:
    with pytest.raises(TaskError, match=f"^{re.escape(message)}") as caught:
        limit_splits(examples(labels), examples(labels), task=task, limit=limit)
    assert f"got {limit}; raise it or drop it" in str(caught.value)


def test_a_train_as_small_as_the_limit_does_not_excuse_a_dev_of_more_classes() -> None:
    train, dev = examples([0, 1] * 2), examples([0, 1, 2, 3, 4] * 2)
    with pytest.raises(TaskError, match=r"^limit must be at least 20 \(4 for each of 5 classes"):
        limit_splits(train, dev, task=COLORS, limit=4)


def test_the_fingerprint_of_a_limited_task_is_that_of_what_is_kept(
    small_glue: Path, tmp_path: Path
) -> None:
    whole = load_task("cola", data_dir=small_glue)
    limited = load_task("cola", data_dir=small_glue, limit=40)
    assert (len(limited.train), len(limited.dev)) == (40, 40)
    assert load_task("cola", data_dir=small_glue, limit=10_000) == whole
    (tmp_path / "CoLA").mkdir()
    for split, kept in (("train", limited.train), ("dev", limited.dev)):
        rows = zip(kept.inputs, kept.labels, strict=True)
        lines = [f"bc\t{label}\t\t{texts[0]}\n" for texts, label in rows]
        (tmp_path / "CoLA" / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    written = load_task("cola", data_dir=tmp_path)
    assert written.fingerprint == limited.fingerprint != whole.fingerprint


def test_the_bundled_corpus_and_a_task_file_take_a_limit(image_task: Path) -> None:
    assert len(load_task("cola-synthetic", limit=16).train) == 16
    classes = load_task(str(image_task)).task.num_labels
    limited = load_task(str(image_task), limit=4 * classes)
    assert len(limited.train) == 4 * classes


def test_a_limit_too_small_is_not_taken_for_a_place_without_data(small_glue: Path) -> None:
    with pytest.raises(TaskError, match=r"^limit must be at least 8 "):
        load_task("cola", fallback_dir=small_glue, limit=2)
