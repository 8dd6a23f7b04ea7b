"""scikit-learn's scorers on predictions: as scikit-learn computes them from a model."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from allocator.data.scoring.loaded_metrics import load_metric
from allocator.data.scoring.metric_checks import require_answers
from allocator.data.scoring.metrics import (
    compute_score,
    depends_on_calibration,
    takes_probabilities,
)
from allocator.data.scoring.scorer_metrics import SCORERS
from allocator.data.task_file import read_task_file
from allocator.errors import TaskError

RNG = np.random.default_rng(0)
BINARY = RNG.integers(0, 2, 200)
MARGINS = BINARY + RNG.normal(size=200)
SECOND = 1 / (1 + np.exp(-MARGINS))
TWO = np.stack([1 - SECOND, SECOND], axis=1)
LABELS = RNG.integers(0, 3, 200)
THREE = RNG.dirichlet(np.ones(3), 200) + 0.3 * np.eye(3)[LABELS]
THREE /= THREE.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f1_macro", metrics.f1_score(LABELS, THREE.argmax(1), average="macro")),
        ("f1_weighted", metrics.f1_score(LABELS, THREE.argmax(1), average="weighted")),
        ("balanced_accuracy", metrics.balanced_accuracy_score(LABELS, THREE.argmax(1))),
        ("roc_auc_ovr", metrics.roc_auc_score(LABELS, THREE, multi_class="ovr")),
        ("roc_auc_ovo", metrics.roc_auc_score(LABELS, THREE, multi_class="ovo")),
        ("average_precision", metrics.average_precision_score(LABELS, THREE)),
        ("neg_log_loss", -metrics.log_loss(LABELS, THREE)),
    ],
)
def test_three_classes_score_as_scikit_learns_functions_do(name: str, expected: float) -> None:
    predictions = THREE if takes_probabilities(name) else THREE.argmax(1)
    score = compute_score(name, predictions, LABELS)
    assert score.value == pytest.approx(expected)
    assert list(score.components) == [name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f1", metrics.f1_score(BINARY, MARGINS > 0)),
        ("precision", metrics.precision_score(BINARY, MARGINS > 0)),
        ("roc_auc", metrics.roc_auc_score(BINARY, MARGINS)),
        ("average_precision", metrics.average_precision_score(BINARY, MARGINS)),
    ],
)
def test_two_classes_score_as_scikit_learns_functions_do(name: str, expected: float) -> None:
    predictions = TWO if takes_probabilities(name) else TWO.argmax(1)
    assert compute_score(name, predictions, BINARY).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r2", metrics.r2_score(BINARY, MARGINS)),
        ("neg_mean_absolute_error", -metrics.mean_absolute_error(BINARY, MARGINS)),
        ("explained_variance", metrics.explained_variance_score(BINARY, MARGINS)),
    ],
)
def test_scores_of_a_regression(name: str, expected: float) -> None:
    assert compute_score(name, MARGINS, BINARY.astype(float)).value == pytest.approx(expected)


def test_answers_that_are_not_finite_are_as_wrong_as_can_be() -> None:
    right = np.arange(4.0)
    wrong = np.where(right < 2, right, [0.0, 0.0, np.inf, np.nan])
    assert compute_score("r2", wrong, right).value < -1e70


def test_a_calibration_changes_neither_class_nor_correlation() -> None:
    for metric in ("accuracy", "f1_macro"):
        assert not depends_on_calibration(metric, is_regression=False)
    assert not depends_on_calibration("pearson_and_spearman", is_regression=True)
    assert depends_on_calibration("roc_auc", is_regression=False)
    assert depends_on_calibration("r2", is_regression=True)


def test_a_class_that_does_not_occur_takes_no_part_in_a_metric_of_probabilities() -> None:
    some = LABELS < 2
    two = THREE[some, 1] / THREE[some, :2].sum(axis=1)
    expected = metrics.roc_auc_score(LABELS[some], two)
    assert compute_score("roc_auc_ovr", THREE[some], LABELS[some]).value == pytest.approx(expected)
    assert compute_score("roc_auc_ovr", THREE[:3], [1, 1, 1]).value == 0.0


def test_a_class_that_is_never_predicted_counts_as_zero_without_a_warning() -> None:
    assert compute_score("f1_macro", [0, 0, 0, 0], [0, 0, 1, 1]).value == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_is_taken_unless_it_compares_clusters_or_takes_no_zero(name: str) -> None:
    taken = []
    for classes in (0, 2, 3):
        with contextlib.suppress(TaskError):
            require_answers(name, classes)
            taken.append(classes)
    of_clusters = "rand_|mutual_|completeness|homogeneity|v_measure|fowlkes"
    others = "poisson|gamma|_samples$"
    assert bool(taken) != bool(re.search(f"{of_clusters}|{others}", name))


def test_a_scorer_of_two_classes_names_those_that_take_more() -> None:
    with pytest.raises(TaskError, match=r"^metric f1 fails: .*; f1_macro, f1_micro, f1_weighted w"):
        require_answers("f1", 3)
    with pytest.raises(TaskError, match=r"^metric roc_auc fails: .*; roc_auc_ovo, .* would not$"):
        require_answers("roc_auc", 3)


def test_a_task_file_names_a_scorer(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,mood\nfine,good\nawful,bad\n")
    file = tmp_path / "moods.yaml"
    file.write_text("train: a.csv\ndev: a.csv\ntext: text\nlabel: mood\nmetric: roc_auc\n")
    assert read_task_file(file).task.metric == "roc_auc"
    assert load_metric("roc_auc").takes_probabilities


@pytest.mark.parametrize("labels", [2, 3])
def test_several_labels_score_as_scikit_learns_functions_do(labels: int) -> None:
    truth = RNG.integers(0, 2, (100, labels))
    probabilities = 0.3 * truth + 0.7 * RNG.random((100, labels))
    above = probabilities > 0.5
    for name, expected in {
        "f1_micro": metrics.f1_score(truth, above, average="micro"),
        "f1_samples": metrics.f1_score(truth, above, average="samples", zero_division=0.0),
        "roc_auc": metrics.roc_auc_score(truth, probabilities),
        "average_precision": metrics.average_precision_score(truth, probabilities),
    }.items():
        given = probabilities if takes_probabilities(name) else above.astype(np.float64)
        assert compute_score(name, given, truth).value == pytest.approx(expected)
        require_answers(name, labels, is_multi_label=True)


def test_labels_that_do_not_vary_take_no_part_in_a_metric_of_probabilities() -> None:
    truth = np.stack([BINARY, np.ones(200, dtype=np.int64)], axis=1)
    expected = metrics.roc_auc_score(BINARY, MARGINS)
    assert compute_score("roc_auc", np.stack([SECOND, SECOND], axis=1), truth).value == (
        pytest.approx(expected)
    )
    assert compute_score("roc_auc", np.ones((200, 2)), np.ones((200, 2), dtype=int)).value == 0.0


@pytest.mark.parametrize("name", ["neg_log_loss", "neg_brier_score", "d2_log_loss_score"])
def test_a_loss_of_classes_is_refused_for_several_labels(name: str) -> None:
    with pytest.raises(TaskError, match=f"^metric {name} fails: it is of one class for each exam"):
        require_answers(name, 3, is_multi_label=True)
