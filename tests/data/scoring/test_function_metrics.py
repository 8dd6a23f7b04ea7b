"""Functions as metrics: a user's own beside the task file, and those of installed packages."""

import re
from pathlib import Path

import numpy as np
import pytest

from allocator.data.scoring.loaded_metrics import load_metric
from allocator.data.scoring.metrics import compute_score, takes_probabilities
from allocator.data.task_file import read_task_file
from allocator.errors import TaskError

PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
MODULE = """
from beside import hits

def share(predictions, labels):
    return hits(predictions, labels) / len(labels)

def score(a, b):
    return {"first": share(a, b), "second": 0.5}

def loss(a, b):
    return share(a, b)

def reversed_names(y_true, y_pred):
    assert y_pred[0] == 1
    return float(y_true[0])

def brier(labels, probabilities):
    return -float(((probabilities[:, 1] - labels) ** 2).mean())

def ranks(y_true, y_score):
    return float(y_score[0])

def broken(predictions, labels):
    return 1 / 0

def errors(predictions, labels):
    return float((predictions != labels).mean())

def nothing(predictions, labels):
    return None
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> Path:
    """A module of metrics that imports another beside it."""
    load_metric.cache_clear()
    (tmp_path / "beside.py").write_text("def hits(a, b):\n    return float((a == b).sum())\n")
    (tmp_path / "mine.py").write_text(MODULE)
    return tmp_path / "mine.py"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("text,mood\nfine,good\nawful,bad\n")
    path = tmp_path / "moods.yaml"
    path.write_text("train: a.csv\ndev: a.csv\ntext: text\nlabel: mood\n")
    return path


def test_a_function_of_predictions_and_labels_scores(module: Path) -> None:
    score = compute_score(f"{module}:share", [1, 0, 1, 1], [1, 0, 0, 0])
    assert score.components == {"share": 0.5}


def test_a_function_may_return_several_numbers(module: Path) -> None:
    assert compute_score(f"{module}:score", [1, 0], [1, 0]).value == 0.75


def test_a_number_whose_name_reports_use_is_named_after_the_module_too(module: Path) -> None:
    assert compute_score(f"{module}:loss", [1], [1]).components == {"mine_loss": 1.0}


def test_parameters_get_what_their_names_say(module: Path) -> None:
    assert compute_score(f"{module}:reversed_names", [1, 1], [0, 1]).value == 0.0
    for name, expected in {"brier": -(0.01 + 0.16 + 0.04) / 3, "ranks": 0.1}.items():
        assert takes_probabilities(f"{module}:{name}")
        score = compute_score(f"{module}:{name}", PROBABILITIES, [0, 1, 1])
        assert score.value == pytest.approx(expected)


def test_a_function_of_a_package_scores() -> None:
    name = "sklearn.metrics:cohen_kappa_score"
    assert compute_score(name, [0, 1, 1], [0, 1, 1]).components == {"cohen_kappa_score": 1.0}
    assert compute_score("sklearn.metrics:roc_auc_score", PROBABILITIES, [0, 1, 1]).value == 1.0


@pytest.mark.parametrize("name", ["mine:share", "mine.py:share"])
def test_a_task_file_names_a_function_beside_it(name: str, file: Path) -> None:
    file.write_text(f"{file.read_text()}metric: {name}\n")
    assert read_task_file(file).task.metric == f"{file.parent}/mine.py:share"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine:shar", "metric {root}/mine.py:shar: unknown function 'shar': did you mean 'share'?"),
        ("mine:broken", "metric {root}/mine.py:broken fails: division by zero"),
        ("mine:errors", "metric {root}/mine.py:errors must be higher for better predictions, got"),
        ("mine:nothing", "metric {root}/mine.py:nothing must return a number, got None"),
        (
            "nosuch.module:share",
            "metric nosuch.module:share: there is neither a file {root}/nosuch/module.py nor a "
            "package 'nosuch' to import",
        ),
        ("no.py:share", "metric no.py:share: there is neither a file {root}/no.py nor a package"),
        ("json.nosuch:share", "metric module json.nosuch: No module named 'json.nosuch'"),
        ("wrong:share", "metric module {root}/wrong.py: name 'oops' is not defined"),
    ],
)
def test_a_function_that_is_no_metric_shows_when_the_task_is_read(
    name: str, message: str, file: Path
) -> None:
    (file.parent / "wrong.py").write_text("oops\n")
    file.write_text(f"{file.read_text()}metric: {name}\n")
    start = f"{file}: {message.format(root=file.parent)}"
    with pytest.raises(TaskError, match=f"^{re.escape(start)}") as caught:
        read_task_file(file)
    assert "\n" not in str(caught.value)
