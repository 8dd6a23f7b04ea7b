"""Metrics that are not the package's own: scripts loaded with evaluate, and a hub out of reach."""

import dataclasses
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from allocator.data.scoring import loaded_metrics
from allocator.data.scoring.loaded_metrics import RESERVED_COMPONENTS, load_metric
from allocator.data.scoring.metrics import compute_score
from allocator.data.task_file import read_task_file
from allocator.errors import TaskError
from allocator.training.messages import Report
from tests.data.conftest import write_script

NO_NETWORK = "no answer from https://huggingface.co in 4 s"
SHARE = "return {'share': sum(p == r for p, r in pairs) / len(pairs)}"
PRECISION_AND_RECALL = """
        hits = sum(p == r == 1 for p, r in pairs)
        return {
            "precision": hits / max(1, sum(predictions)),
            "recall": hits / max(1, sum(references)),
            "confusion": [[0, 1], [1, 0]],
            "note": "of class 1",
        }
"""
NEGATED_ERROR = "return {'negated_mse': -sum((p - r) ** 2 for p, r in pairs) / len(pairs)}"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test loads its metrics anew, the hub out of reach."""
    load_metric.cache_clear()
    monkeypatch.setattr(loaded_metrics, "find_hub_problem", lambda _: NO_NETWORK)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A task file of two classes beside a folder `metrics`."""
    (tmp_path / "a.csv").write_text("text,mood\nfine,good\nawful,bad\n")
    path = tmp_path / "moods.yaml"
    path.write_text("train: a.csv\ndev: a.csv\ntext: text\nlabel: mood\n")
    return path


def test_all_numbers_that_a_script_answers_with_are_components(tmp_path: Path) -> None:
    script = str(write_script(tmp_path / "pr.py", PRECISION_AND_RECALL))
    score = compute_score(script, [1, 1, 0, 0], [1, 0, 1, 1])
    assert score.components == {"precision": 0.5, "recall": pytest.approx(1 / 3)}
    assert score.value == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_a_folder_may_hold_the_script_of_its_name(tmp_path: Path) -> None:
    write_script(tmp_path / "share" / "share.py", SHARE)
    assert compute_score(str(tmp_path / "share"), [1, 0], [1, 1]).value == 0.5


def test_class_ids_that_are_floats_reach_a_script_as_integers(tmp_path: Path) -> None:
    body = "return {'integers': float(all(isinstance(p, int) for p in predictions))}"
    script = str(write_script(tmp_path / "kinds.py", body))
    assert compute_score(script, np.array([0.0, 1.0]), [0, 1]).value == 1.0


def test_a_component_that_is_not_finite_counts_as_zero(tmp_path: Path) -> None:
    script = str(write_script(tmp_path / "odd.py", "return {'a': float('nan'), 'b': 1.0}"))
    assert compute_score(script, [0], [0]).components == {"a": 0.0, "b": 1.0}


def test_a_metric_is_loaded_once_and_scores_from_several_threads(tmp_path: Path) -> None:
    script = str(write_script(tmp_path / "share.py", SHARE))
    assert load_metric(script) is load_metric(script)
    with ThreadPoolExecutor(4) as pool:
        scores = pool.map(lambda i: compute_score(script, [0, 1], [0, i % 2]).value, range(40))
    assert list(scores) == [0.5, 1.0] * 20


def test_a_metric_that_failed_has_forgotten_its_inputs(tmp_path: Path) -> None:
    script = str(write_script(tmp_path / "share.py", SHARE.replace("len(pairs)", "references[0]")))
    with pytest.raises(TaskError, match=r"^metric \S+share\.py fails: division by zero$"):
        compute_score(script, [0], [0])
    assert compute_score(script, [1], [1]).value == 1.0


@pytest.mark.parametrize("named", ["metrics/share.py", "metrics/share"])
def test_a_task_file_names_a_script_beside_it(named: str, file: Path) -> None:
    folder = "share/" if named.endswith("share") else ""
    write_script(file.parent / "metrics" / folder / "share.py", SHARE)
    file.write_text(file.read_text() + f"metric: {named}\n")
    own = read_task_file(file)
    assert own.task.metric == str(file.parent / named)
    load_metric.cache_clear()  # as another process would find it
    assert compute_score(own.task.metric, own.train.labels, own.train.labels).value == 1.0


def test_a_regression_may_have_a_script(file: Path) -> None:
    (file.parent / "a.csv").write_text("text,mood\nfine,1.5\nawful,0\n")
    write_script(file.parent / "error.py", NEGATED_ERROR, kind="float64")
    file.write_text(file.read_text() + "regression: true\nmetric: error.py\n")
    assert read_task_file(file).task.metric == str(file.parent / "error.py")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {'x': 1 / 0}", "metric {script} fails: division by zero"),
        ("return {'x': 'high'}", "metric {script} must return a number, got {{'x': 'high'}}"),
        ("return None", "metric {script} must return a number, got None"),
        ("return {'loss': 1.0}", "metric {script} must not return a number named loss, which"),
        (
            "return {'error': float(sum(p != r for p, r in pairs))}",
            "metric {script} must be higher for better predictions, got 0 for right ones and 4 for",
        ),
        ("retur", "metric script {script}: "),
    ],
)
def test_a_script_that_is_no_metric_shows_when_the_task_is_read(
    body: str, message: str, file: Path
) -> None:
    script = write_script(file.parent / "wrong.py", body)
    if body == "retur":
        script.write_text("not python")
    file.write_text(file.read_text() + "metric: wrong.py\n")
    expected = f"{file}: {message.format(script=script)}"
    with pytest.raises(TaskError, match=f"^{re.escape(expected)}") as caught:
        read_task_file(file)
    assert "\n" not in str(caught.value)


def test_a_script_that_is_not_there_is_refused(file: Path) -> None:
    file.write_text(file.read_text() + "metric: metrics/none.py\n")
    with pytest.raises(TaskError, match=r"metric script \S+/metrics/none\.py does not exist$"):
        read_task_file(file)


def test_a_hub_out_of_reach_costs_seconds_and_one_line(file: Path) -> None:
    file.write_text(file.read_text() + "metric: acuracy\n")
    before = time.monotonic()
    expected = (
        f"{file}: unknown metric 'acuracy': did you mean 'accuracy' or 'top_k_accuracy' or "
        "'accuracy_and_f1'? it is none of matthews_correlation, accuracy, accuracy_and_f1, "
        "pearson_and_spearman, no scorer of scikit-learn, no package.module:function, no metric "
        f"script, and no id that evaluate can load ({NO_NETWORK})"
    )
    with pytest.raises(TaskError, match=f"^{re.escape(expected)}$"):
        read_task_file(file)
    assert time.monotonic() - before < 5


def test_an_id_that_evaluate_has_in_its_cache_needs_no_hub(
    evaluate_cache: Path, file: Path
) -> None:
    copies = evaluate_cache / "modules" / "evaluate_modules" / "metrics"
    write_script(copies / "evaluate-metric--share" / ("0" * 64) / "share.py", SHARE)
    file.write_text(file.read_text() + "metric: share\n")
    assert read_task_file(file).task.metric == "share"
    assert compute_score("share", [0, 1], [0, 0]).components == {"share": 0.5}


def test_the_reserved_names_are_those_of_a_reports_own_numbers() -> None:
    assert {field.name for field in dataclasses.fields(Report)} <= RESERVED_COMPONENTS
