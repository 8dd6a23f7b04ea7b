"""Examples and metrics in memory, written as a task file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from allocator.data.scoring.metrics import compute_score
from allocator.data.sources import load_task
from allocator.tuning.plan.given_data import Data, write_given_task
from allocator.tuning.plan.given_metric import GivenMetric

ROWS = [{"text": f"sentence {i}", "label": "ab"[i % 2], "id": i} for i in range(40)]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def write(folder: Path, train: Data = ROWS, metric: GivenMetric | None = None) -> Path:
    return write_given_task(
        *("mine", train, None),
        text=("text",),
        label=("label",),
        classes=None,
        regression=False,
        metric=metric,
        folder=folder,
    )


@pytest.mark.parametrize(
    "train",
    [ROWS, COLUMNS, pd.DataFrame(ROWS), datasets.Dataset.from_list(ROWS)],
    ids=["rows", "columns", "frame", "dataset"],
)
def test_examples_of_all_forms_are_the_same_task(train: Data, tmp_path: Path) -> None:
    given, rows = load_task(str(write(tmp_path, train))), load_task(str(write(tmp_path / "rows")))
    assert given.fingerprint == rows.fingerprint
    assert given.task.labels == ("a", "b")
    assert len(given.train) == 32
    assert given.remarks[0].startswith("dev is 8 of the 40 examples of train")


def test_the_same_examples_are_written_once_and_others_beside_them(tmp_path: Path) -> None:
    first = write(tmp_path)
    assert write(tmp_path) == first
    assert write(tmp_path, ROWS[:20]) != first
    assert len(list(tmp_path.iterdir())) == 2


def test_class_labels_keep_the_names_and_the_order_that_they_declare(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = [{"text": f"sentence {i}", "label": i % 2} for i in range(40)]
    given = load_task(str(write(tmp_path, datasets.Dataset.from_list(rows, features=features))))
    assert given.task.labels == ("no", "yes")


def make_metric(wanted: int) -> Callable[..., float]:
    """Make a function that cannot be imported by its name."""

    def share(predictions: np.ndarray, labels: np.ndarray) -> float:
        return float(np.mean((predictions == labels) & (labels == wanted)))

    return share


def test_a_function_is_written_down_as_it_is_and_anew_when_it_changes(tmp_path: Path) -> None:
    first, second = write(tmp_path, metric=make_metric(0)), write(tmp_path, metric=make_metric(1))
    assert first != second
    assert write(tmp_path, metric=make_metric(0)) == first
    scores = [
        compute_score(load_task(str(path)).task.metric, [0, 0, 1, 1], [0, 0, 0, 1]).value
        for path in (first, second)
    ]
    assert scores == [0.5, 0.25]


SCRIPT = """
import numpy as np
from allocator.tuning.plan.given_metric import describe_function

def helper(x):
    return np.asarray(x) in {{"a", "b", "c"}}

def score(predictions, labels, *, least=0.5):
    return float(sum(predictions == labels)) / len(labels) + helper(labels) - {number}

print(describe_function(score))
"""


def describe_in_new_process(lines: int, number: int, seed: str) -> str:
    code = "\n" * lines + SCRIPT.format(number=number)
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout


def test_a_function_has_the_same_words_in_every_process_until_it_changes() -> None:
    first = describe_in_new_process(0, number=1, seed="1")
    assert describe_in_new_process(3, number=1, seed="2") == first
    assert describe_in_new_process(0, number=2, seed="1") != first


def test_columns_that_no_table_can_hold_do_not_matter(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS).assign(mixed=[1, "two"] * 20)
    assert len(load_task(str(write(tmp_path, frame))).train) == 32


def test_a_function_that_can_be_imported_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, metric=balanced_accuracy_score)
    assert load_task(str(path)).task.metric.endswith(":balanced_accuracy_score")
