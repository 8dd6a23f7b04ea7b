import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import evaluate
import numpy as np
import pytest

from allocator.data.scoring.glue_metrics import METRICS
from allocator.data.scoring.metrics import compute_score
from allocator.errors import TaskError

RNG = np.random.default_rng(0)
REFERENCES: list[int] = RNG.integers(0, 2, 200).tolist()
PREDICTIONS: list[int] = np.where(
    RNG.random(200) < 0.7, REFERENCES, RNG.integers(0, 2, 200)
).tolist()
TRUE = sum(p == r == 1 for p, r in zip(PREDICTIONS, REFERENCES, strict=True))
FALSE = sum(p == r == 0 for p, r in zip(PREDICTIONS, REFERENCES, strict=True))


def test_every_metric_is_one_of_evaluates() -> None:
    assert all(issubclass(metric, evaluate.Metric) for metric in METRICS.values())


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert compute_score("accuracy", PREDICTIONS, REFERENCES).value == pytest.approx(
        (TRUE + FALSE) / 200
    )
    assert compute_score("accuracy", [2, 0, 1], [2, 1, 1]).components == {
        "accuracy": pytest.approx(2 / 3)
    }


def test_the_matthews_correlation_is_pearsons_of_the_two_classes() -> None:
    expected = np.corrcoef(PREDICTIONS, REFERENCES)[0, 1]
    result = compute_score("matthews_correlation", PREDICTIONS, REFERENCES)
    assert result.value == pytest.approx(expected)
    assert result.components == {"matthews_correlation": result.value}


def test_accuracy_and_f1_score_as_their_mean() -> None:
    result = compute_score("accuracy_and_f1", PREDICTIONS, REFERENCES)
    f1 = 2 * TRUE / (sum(PREDICTIONS) + sum(REFERENCES))
    assert result.components == pytest.approx({"accuracy": (TRUE + FALSE) / 200, "f1": f1})
    assert result.value == pytest.approx((result.components["accuracy"] + f1) / 2)


def test_pearson_and_spearman_score_as_their_mean() -> None:
    references = RNG.random(100)
    predictions = np.exp(3 * references) + RNG.normal(scale=0.5, size=100)
    result = compute_score("pearson_and_spearman", predictions.tolist(), references.tolist())
    ranks = [np.argsort(np.argsort(values)).tolist() for values in (predictions, references)]
    expected = {
        "pearson": np.corrcoef(predictions, references)[0, 1],
        "spearman": np.corrcoef(ranks[0], ranks[1])[0, 1],
    }
    assert result.components == pytest.approx(expected)
    assert result.value == pytest.approx(sum(expected.values()) / 2)


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_predictions_score_one(metric: str) -> None:
    assert compute_score(metric, REFERENCES, REFERENCES).value == pytest.approx(1.0)


@pytest.mark.parametrize("answer", [0, 1])
@pytest.mark.parametrize("metric", ["matthews_correlation", "pearson_and_spearman"])
def test_a_constant_predictor_correlates_with_nothing(metric: str, answer: int) -> None:
    assert compute_score(metric, [answer] * 200, REFERENCES).value == 0.0
    assert compute_score(metric, PREDICTIONS, [answer] * 200).value == 0.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_predictions_that_are_not_finite_correlate_with_nothing(wrong: float) -> None:
    assert compute_score("pearson_and_spearman", [wrong, 1.0, 2.0], [0.0, 1.0, 2.0]).value == 0.0


def test_a_predictor_constant_but_for_rounding_correlates_with_nothing() -> None:
    nearly = (3.0 + 1e-15 * RNG.random(100)).tolist()
    assert compute_score("pearson_and_spearman", nearly, RNG.random(100).tolist()).value == 0.0


def test_f1_without_any_positive_is_zero() -> None:
    assert compute_score("accuracy_and_f1", [0, 0], [0, 0]).components == {
        "accuracy": 1.0,
        "f1": 0.0,
    }


def test_arrays_score_as_lists_do() -> None:
    arrays = compute_score("accuracy_and_f1", np.array(PREDICTIONS), np.array(REFERENCES))
    assert arrays == compute_score("accuracy_and_f1", PREDICTIONS, REFERENCES)


def test_an_unknown_metric_suggests_the_nearest() -> None:
    with pytest.raises(TaskError, match=r"unknown metric 'acuracy': did you mean 'accuracy' or"):
        compute_score("acuracy", [0], [0])


@pytest.mark.parametrize(("predictions", "references"), [([], []), ([1], [1, 0])])
def test_a_score_needs_as_many_predictions_as_references(
    predictions: list[int], references: list[int]
) -> None:
    with pytest.raises(ValueError, match=f"got {len(predictions)} and {len(references)}"):
        compute_score("accuracy", predictions, references)


def test_scores_at_the_same_time_keep_apart_and_leave_the_users_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "metrics")
    with ThreadPoolExecutor(4) as pool:
        scores = pool.map(lambda i: compute_score("accuracy", [0, 1], [0, i % 2]).value, range(40))
    assert list(scores) == [0.5, 1.0] * 20
    assert not (tmp_path / "metrics").exists()
