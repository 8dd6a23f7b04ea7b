import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from allocator.tuning.evidence.paired_difference import (
    PairedDifference,
    Verdict,
    compare_paired,
)

Floats = npt.NDArray[np.float64]

REPETITIONS = 400
SPREAD = 0.17  # standard deviation of an example's difference in loss


def make_differences(
    seed: int, *, seeds: int, examples: int, seed_spread: float, shared: float
) -> Floats:
    """Draw differences of equal allocations; `shared` is the part of an example's variance that
    all seeds share, and examples have the heavy tails of Student's t with 3 degrees of freedom.
    """
    rng = np.random.default_rng(seed)
    unit = math.sqrt(3)  # standard deviation of that t
    by_example_N = rng.standard_t(3, examples) / unit
    residual_SN = rng.standard_t(3, (seeds, examples)) / unit
    by_seed_S = seed_spread * rng.standard_normal(seeds)
    examples_SN = math.sqrt(shared) * by_example_N + math.sqrt(1 - shared) * residual_SN
    return by_seed_S[:, None] + SPREAD * examples_SN


def draw_results(
    *, seeds: int, examples: int, seed_spread: float, shared: float
) -> list[PairedDifference]:
    return [
        compare_paired(
            make_differences(
                seed, seeds=seeds, examples=examples, seed_spread=seed_spread, shared=shared
            )
        )
        for seed in range(REPETITIONS)
    ]


def count_distinguished(results: Sequence[PairedDifference], shift: float) -> int:
    """Count the results whose interval would exclude zero if the true difference were `shift`."""
    return sum(not result.low + shift <= 0 <= result.high + shift for result in results)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("seed_spread", [0.0, 0.002, 0.006, 0.05])
def test_equal_allocations_are_distinguished_in_at_most_5_of_100_cases(
    seeds: int, shared: float, seed_spread: float
) -> None:
    results = draw_results(seeds=seeds, examples=200, seed_spread=seed_spread, shared=shared)
    # 5% plus what 999 of 1,000 samples stay below.
    limit = stats.binom.ppf(0.999, REPETITIONS, 0.05)
    assert count_distinguished(results, 0.0) <= limit


@pytest.mark.parametrize("seed_spread", [0.0, 0.006])
@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_the_detectable_difference_is_found_in_80_of_100_cases_and_multiples_in_all(
    seed_spread: float, shared: float
) -> None:
    results = draw_results(seeds=3, examples=1000, seed_spread=seed_spread, shared=shared)
    # One estimate of it rests on 3 seeds; its square is unbiased, so the mean square is the truth.
    detectable = math.sqrt(np.mean([result.detectable**2 for result in results]))
    low, high = stats.binom.ppf([0.0005, 0.9995], REPETITIONS, [0.79, 0.83])
    assert low <= count_distinguished(results, detectable) <= high
    # With 2 degrees of freedom, twice as much is still missed in 2 of 1,000 cases.
    assert count_distinguished(results, 2 * detectable) >= 0.98 * REPETITIONS
    assert count_distinguished(results, 3 * detectable) >= 0.99 * REPETITIONS


@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_intervals_cover_a_planted_difference(multiple: int) -> None:
    draws = [
        make_differences(seed, seeds=3, examples=1000, seed_spread=0.006, shared=0.3)
        for seed in range(REPETITIONS)
    ]
    planted = multiple * compare_paired(draws[0]).detectable
    results = [compare_paired(planted + draw) for draw in draws]
    covered = sum(result.low <= planted <= result.high for result in results)
    assert covered >= stats.binom.ppf(0.001, REPETITIONS, 0.95)


def test_a_prior_of_the_seeds_variance_finds_smaller_differences_at_the_same_level() -> None:
    seed_spread, freedom = 0.006, 8
    draws = [
        make_differences(seed, seeds=3, examples=1000, seed_spread=seed_spread, shared=0.0)
        for seed in range(REPETITIONS)
    ]
    truth = seed_spread**2 + SPREAD**2 / 1000
    priors = truth * np.random.default_rng(0).chisquare(freedom, REPETITIONS) / freedom
    alone = [compare_paired(draw) for draw in draws]
    pooled = [
        compare_paired(draw, seed_variance=(float(prior), freedom))
        for draw, prior in zip(draws, priors, strict=True)
    ]
    assert count_distinguished(pooled, 0.0) <= stats.binom.ppf(0.999, REPETITIONS, 0.05)
    shift = 3.2 * math.sqrt(truth / 3)
    assert count_distinguished(alone, shift) < 0.6 * REPETITIONS
    assert count_distinguished(pooled, shift) > 0.7 * REPETITIONS


def test_the_error_is_that_of_the_analysis_of_variance() -> None:
    # Means of seeds 3, 6; of examples 2.5, 3.5, 7.5; mean squares 13.5, 14 and 0.5 by hand.
    result = compare_paired(np.array([[1.0, 2.5, 5.5], [4.0, 4.5, 9.5]]))
    assert result.mean == 4.5
    assert result.error == pytest.approx(math.sqrt((13.5 + 14 - 0.5) / 6))
    by_seeds, by_examples = stats.t.ppf(0.975, [1, 2])
    margin = math.sqrt((by_seeds**2 * 13.5 + by_examples**2 * 13.5) / 6)
    assert (result.low, result.high) == pytest.approx((4.5 - margin, 4.5 + margin))


def test_seeds_that_agree_by_chance_leave_the_residuals_error() -> None:
    # Each example has the opposite differences with the two seeds, so all means are 0.
    result = compare_paired(np.array([[1.0, -1.0, 2.0, -2.0], [-1.0, 1.0, -2.0, 2.0]]))
    residual = 20 / 3 / 8  # sum of squares 20, 3 degrees of freedom, 8 values
    assert result.error == pytest.approx(math.sqrt(residual))
    assert result.high == pytest.approx(stats.t.ppf(0.975, 3) * math.sqrt(residual))


def test_without_variation_over_examples_it_is_students_test_over_seeds() -> None:
    means_S = np.array([0.1, 0.3, 0.5, 0.2])
    result = compare_paired(np.tile(means_S[:, None], 50))
    expected = stats.ttest_1samp(means_S, 0.0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    # Power of Student's test at that difference.
    noncentrality = result.detectable / result.error
    assert stats.nct.sf(stats.t.ppf(0.975, 3), 3, noncentrality) == pytest.approx(0.8)


def test_one_seed_shows_examples_only_and_gives_no_verdict() -> None:
    values_N = np.array([0.2, 0.3, 0.25, 0.4])
    result = compare_paired(values_N[None])
    expected = stats.ttest_1samp(values_N, 0.0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert result.low > 0
    assert not result.covers_seeds
    assert result.judge(higher_is_better=True) == "not distinguishable"


def test_one_seed_and_a_prior_of_the_seeds_variance_give_a_verdict() -> None:
    values_N = np.array([0.2, 0.3, 0.25, 0.4])
    result = compare_paired(values_N[None], seed_variance=(1e-4, 6))
    assert result.covers_seeds
    assert result.error == pytest.approx(math.sqrt(1e-4 + stats.sem(values_N) ** 2))
    assert result.judge(higher_is_better=True) == "better"


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_identical_predictions_are_not_distinguishable(seeds: int) -> None:
    result = compare_paired(np.zeros((seeds, 20)))
    assert (result.mean, result.error, result.low, result.high, result.detectable) == (0,) * 5
    assert result.judge(higher_is_better=True) == "not distinguishable"


@pytest.mark.parametrize(
    ("mean", "higher_is_better", "verdict"),
    [
        (2.0, True, "better"),
        (2.0, False, "worse"),
        (-2.0, True, "worse"),
        (-2.0, False, "better"),
        (1.0, True, "not distinguishable"),
    ],
)
def test_the_verdict_knows_which_direction_is_good(
    mean: float, higher_is_better: bool, verdict: Verdict
) -> None:
    result = PairedDifference(
        mean=mean, error=0.5, low=mean - 1, high=mean + 1, detectable=1.5, covers_seeds=True
    )
    assert result.judge(higher_is_better=higher_is_better) == verdict


@pytest.mark.parametrize("shape", [(5,), (0, 5), (3, 1)])
def test_differences_need_a_seed_and_two_examples(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"differences must have shape.*got \({shape[0]},"):
        compare_paired(np.zeros(shape))


def test_differences_must_be_finite() -> None:
    with pytest.raises(ValueError, match="differences must be finite, got nan"):
        compare_paired(np.array([[0.0, math.nan]]))


@pytest.mark.parametrize("seed_variance", [(-1.0, 4.0), (1.0, 0.5), (math.nan, 4.0)])
def test_a_prior_needs_a_variance_and_degrees_of_freedom(
    seed_variance: tuple[float, float],
) -> None:
    with pytest.raises(ValueError, match=rf"seed_variance must.*got \({seed_variance[0]},"):
        compare_paired(np.zeros((3, 5)), seed_variance=seed_variance)
