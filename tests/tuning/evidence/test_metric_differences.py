import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from allocator.data.scoring.metrics import compute_score
from allocator.tuning.evidence.metric_differences import (
    MOST_GROUPS,
    compute_pseudo_differences,
)
from allocator.tuning.evidence.paired_difference import compare_paired

Ints = npt.NDArray[np.int64]


def make_predictions(labels_N: Ints, accuracies: tuple[float, ...], seed: int) -> Ints:
    """Flip labels at random; one row for each accuracy."""
    is_right_SN = np.random.default_rng(seed).random((len(accuracies), len(labels_N)))
    return np.where(is_right_SN < np.array(accuracies)[:, None], labels_N, 1 - labels_N)


def make_labels(examples: int) -> Ints:
    # Ordered by class, as files often are.
    return (np.arange(examples) < 0.3 * examples).astype(np.int64)


def test_for_accuracy_they_are_the_examples_own_differences() -> None:
    labels_N = make_labels(40)
    choice_SN = make_predictions(labels_N, (0.8, 0.7), seed=0)
    baseline_SN = make_predictions(labels_N, (0.6, 0.7), seed=1)
    expected_SN = (choice_SN == labels_N) * 1.0 - (baseline_SN == labels_N)
    pseudo_SG = compute_pseudo_differences("accuracy", choice_SN, baseline_SN, labels_N)
    # The groups are single examples in a random order, the same for both seeds.
    assert sorted(zip(*pseudo_SG.round(9), strict=True)) == sorted(zip(*expected_SN, strict=True))


def test_their_error_is_that_of_a_bootstrap() -> None:
    labels_N = make_labels(400)
    choice_N, baseline_N = make_predictions(labels_N, (0.85, 0.75), seed=0)
    pseudo_SG = compute_pseudo_differences(
        "matthews_correlation", choice_N[None], baseline_N[None], labels_N
    )
    result = compare_paired(pseudo_SG)

    def compute_matthews(predictions_N: Ints, rows_N: Ints) -> float:
        return float(np.corrcoef(predictions_N[rows_N], labels_N[rows_N])[0, 1])

    rng = np.random.default_rng(0)
    bootstrap = [
        compute_matthews(choice_N, rows_N) - compute_matthews(baseline_N, rows_N)
        for rows_N in rng.integers(0, 400, (2000, 400))
    ]
    assert pseudo_SG.shape == (1, MOST_GROUPS)
    # 100 groups estimate a standard error to within 7%; three times that.
    assert result.error == pytest.approx(np.std(bootstrap), rel=0.21)
    everyone = np.arange(400)
    whole = compute_matthews(choice_N, everyone) - compute_matthews(baseline_N, everyone)
    assert result.mean == pytest.approx(whole, abs=0.1 * result.error)


def test_scores_of_a_regression_have_them_too() -> None:
    rng = np.random.default_rng(0)
    labels_N = rng.random(30)
    choice_SN, baseline_SN = labels_N + np.array([[[0.1]], [[0.5]]]) * rng.normal(size=(2, 1, 30))
    pseudo_SG = compute_pseudo_differences("pearson_and_spearman", choice_SN, baseline_SN, labels_N)

    def compute_mean_score(predictions_N: npt.NDArray[np.float64]) -> float:
        return compute_score("pearson_and_spearman", predictions_N, labels_N).value

    whole = compute_mean_score(choice_SN[0]) - compute_mean_score(baseline_SN[0])
    assert pseudo_SG.mean() == pytest.approx(whole, abs=0.5 * stats.sem(pseudo_SG[0]))


def test_probabilities_have_them_too() -> None:
    rng = np.random.default_rng(0)
    labels_N = make_labels(300)

    def answer(noise: float) -> npt.NDArray[np.float64]:
        second_SN = 1 / (1 + np.exp(-labels_N - noise * rng.normal(size=(2, 300))))
        return np.stack([1 - second_SN, second_SN], axis=2)

    choice_SNC, baseline_SNC = answer(1.0), answer(3.0)
    pseudo_SG = compute_pseudo_differences("roc_auc", choice_SNC, baseline_SNC, labels_N)
    whole_S = [
        roc_auc_score(labels_N, choice_NC[:, 1]) - roc_auc_score(labels_N, baseline_NC[:, 1])
        for choice_NC, baseline_NC in zip(choice_SNC, baseline_SNC, strict=True)
    ]
    assert pseudo_SG.mean(axis=1) == pytest.approx(whole_S, abs=0.005)
    # 0.03 is about what DeLong's formula gives for each of the two areas.
    assert 0.01 < compare_paired(pseudo_SG).error < 0.06


def test_several_labels_have_them_too() -> None:
    rng = np.random.default_rng(0)
    labels_NL = rng.integers(0, 2, (60, 3))
    choice_SNL, baseline_SNL = (
        np.where(rng.random((2, 60, 3)) < share, labels_NL, 1 - labels_NL) for share in (0.8, 0.6)
    )
    pseudo_SG = compute_pseudo_differences("f1_micro", choice_SNL, baseline_SNL, labels_NL)
    whole_S = [
        f1_score(labels_NL, choice_NL, average="micro")
        - f1_score(labels_NL, baseline_NL, average="micro")
        for choice_NL, baseline_NL in zip(choice_SNL, baseline_SNL, strict=True)
    ]
    assert pseudo_SG.shape == (2, 60)
    assert pseudo_SG.mean(axis=1) == pytest.approx(whole_S, abs=0.01)


def test_identical_predictions_have_no_difference_in_any_group() -> None:
    labels_N = make_labels(30)
    predictions_SN = make_predictions(labels_N, (0.8, 0.7), seed=0)
    pseudo_SG = compute_pseudo_differences(
        "accuracy_and_f1", predictions_SN, predictions_SN, labels_N
    )
    assert not pseudo_SG.any()


@pytest.mark.parametrize(
    ("shape", "baseline_shape", "examples", "message"),
    [
        ((2, 5), (2, 5), 1, r"labels must have shape .*got \(1,\)"),
        ((2, 4), (2, 4), 5, r"predictions must have shape \(seeds, 5\).*got \(2, 4\)"),
        ((5,), (5,), 5, r"predictions must have shape \(seeds, 5\).*got \(5,\)"),
        ((0, 5), (0, 5), 5, r"with at least one seed, got \(0, 5\)"),
        ((2, 5), (3, 5), 5, r"the shape of the choice's, \(2, 5\), got \(3, 5\)"),
    ],
)
def test_shapes_must_agree(
    shape: tuple[int, ...], baseline_shape: tuple[int, ...], examples: int, message: str
) -> None:
    labels_N = make_labels(examples)
    choice_SN = np.zeros(shape, dtype=np.int64)
    baseline_SN = np.zeros(baseline_shape, dtype=np.int64)
    with pytest.raises(ValueError, match=message):
        compute_pseudo_differences("accuracy", choice_SN, baseline_SN, labels_N)
