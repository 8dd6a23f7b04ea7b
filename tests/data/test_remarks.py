"""What is said of a task's data before anything trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allocator.data.remarks import list_remarks
from allocator.data.sources import load_task
from allocator.data.tasks import Examples, Task


def make_task(*labels: str) -> Task:
    return Task(
        name="own", text_columns=("text",), label_column="label", labels=labels, metric="accuracy"
    )


def make_examples(labels: Sequence[int]) -> Examples:
    return Examples(inputs=(("a text",),) * len(labels), labels=tuple(labels))


def test_classes_that_differ_only_by_spaces_or_capitals_are_said() -> None:
    split = make_examples([0, 1, 2])
    (remark,) = list_remarks(make_task("bad", "bad ", "good"), split, split)
    assert remark == (
        "classes 'bad' and 'bad ' differ only by spaces or capitals; write them alike if they are "
        "one"
    )
    assert "'Good' and 'good'" in list_remarks(make_task("Good", "bad", "good"), split, split)[0]


def test_an_imbalance_of_99_to_1_is_said_and_a_smaller_one_is_not() -> None:
    task, dev = make_task("spam", "ham"), make_examples([0, 1])
    (remark,) = list_remarks(task, make_examples([1] * 198 + [0] * 2), dev)
    assert remark.startswith(
        "class 'ham' has 99 times as many examples of train as 'spam' (198 and"
    )
    assert list_remarks(task, make_examples([1] * 197 + [0] * 2), dev) == ()


def test_classes_without_examples_are_said() -> None:
    task = make_task("a", "b", "c")
    assert list_remarks(task, make_examples([0, 1]), make_examples([0, 2])) == (
        "train has no example of 'c'",
        "dev has no example of 'b'",
    )


def test_a_regression_and_even_classes_need_no_remark() -> None:
    scores = Task(
        name="own", text_columns=("text",), label_column="score", labels=(), metric="accuracy"
    )
    split = Examples(inputs=(("a",), ("b",)), labels=(0.5, 0.25))
    assert list_remarks(scores, split, split) == ()
    assert list_remarks(make_task("a", "b"), make_examples([0, 1]), make_examples([1, 0])) == ()


def test_remarks_come_with_a_task_of_ones_own(tmp_path: Path) -> None:
    rows = "text,label\na,bad\nb,bad \nc,bad\nd,bad \n"
    (tmp_path / "train.csv").write_text(rows)
    task = tmp_path / "own.yaml"
    task.write_text("{train: train.csv, dev: train.csv, text: text, label: label}")
    assert "'bad' and 'bad '" in load_task(str(task)).remarks[0]


def test_examples_without_text_are_said() -> None:
    split = Examples(inputs=(("a", ""), (" ", "")), labels=(0, 1))
    remarks = list_remarks(make_task("a", "b"), split, make_examples([0, 1]))
    assert remarks == ("1 of the 2 examples of train have no text",)
