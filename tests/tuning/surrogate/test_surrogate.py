import dataclasses

import numpy as np
import pytest

from allocator.allocation.constructions import BackboneShape
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.points import Domain
from allocator.tuning.space.space import Params, Space
from allocator.tuning.space.space_file import read_space
from allocator.tuning.surrogate.observations import Observation
from allocator.tuning.surrogate.surrogate import Surrogate
from allocator.tuning.surrogate.targets import (
    compute_median_gains,
    compute_seed_shifts,
    raise_low_scores,
)

BACKBONE = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space(read_space("tenslora_plus"), BACKBONE, 40_000)


def observe(
    space: Space, scores: list[float], *, fidelity: float = 1.0, seed: int = 0
) -> list[Observation]:
    domain = Domain(space)
    points = domain.sample_points(len(scores), np.random.default_rng(seed))
    return [
        Observation(params=domain.point_to_params(point), seed=0, fidelity=fidelity, score=score)
        for point, score in zip(points, scores, strict=True)
    ]


def smooth_score(params: Params) -> float:
    rate, multiplier = float(params["learning_rate"]), float(params["core_lr_multiplier"])
    core = np.log(multiplier * rate / 5e-3)
    depth = np.log2(float(params["rank_depth"]))
    return float(0.5 - 0.02 * np.log(rate / 1e-3) ** 2 - 0.01 * core**2 + 0.02 * depth)


def test_one_observation_is_the_prior_mean(space: Space) -> None:
    surrogate = Surrogate.fit(space, observe(space, [0.4]))
    mean, deviation = surrogate.predict(Domain(space).sample_points(5, np.random.default_rng(1)))
    np.testing.assert_allclose(mean, 0.4, atol=1e-9)
    assert np.all(deviation > 0)


@pytest.mark.parametrize("scores", [[0.4, 0.5], [0.5] * 6, [0.0] * 5 + [0.6]])
def test_few_or_equal_scores_are_fitted_without_complaint(
    space: Space, scores: list[float]
) -> None:
    observations = observe(space, scores)
    mean, deviation = Surrogate.fit(space, observations).predict([o.params for o in observations])
    assert np.all(np.isfinite(mean))
    assert np.all(np.isfinite(deviation))
    assert min(scores) - 0.01 <= mean.min()
    assert mean.max() <= max(scores) + 0.01


def test_no_observation_is_refused(space: Space) -> None:
    with pytest.raises(ValueError, match="at least one observation, got none"):
        Surrogate.fit(space, [])


def test_repeated_points_are_averaged(space: Space) -> None:
    base = observe(space, [0.5] * 8)
    again = [
        Observation(params=base[0].params, seed=i, fidelity=1.0, score=s)
        for i, s in enumerate((0.4, 0.6), start=1)
    ]
    mean, _ = Surrogate.fit(space, base + again).predict([base[0].params])
    assert mean[0] == pytest.approx(0.5, abs=0.02)


def test_the_posterior_mean_shrinks_a_lucky_score(space: Space) -> None:
    params = [o.params for o in observe(space, [0.0] * 24)]
    true = [smooth_score(p) for p in params]
    lucky = int(np.argsort(true)[12])
    noise = 0.01 * np.random.default_rng(3).standard_normal(24)
    scores = np.array(true) + noise
    scores[lucky] = max(true) + 0.02
    near = [
        {**params[lucky], "learning_rate": float(params[lucky]["learning_rate"]) * k}
        for k in (0.9, 1.1)
    ]
    observations = [
        Observation(params=p, seed=0, fidelity=1.0, score=s)
        for p, s in zip([*params, *near], [*scores, *map(smooth_score, near)], strict=True)
    ]
    mean, _ = Surrogate.fit(space, observations).predict(params)
    assert abs(mean[lucky] - true[lucky]) < 0.7 * abs(scores[lucky] - true[lucky])
    assert int(np.argmax(mean)) != lucky


def test_predictions_follow_a_smooth_response(space: Space) -> None:
    train, test = observe(space, [0.0] * 40), observe(space, [0.0] * 100, seed=5)
    seen = [dataclasses.replace(o, score=smooth_score(o.params)) for o in train]
    mean, deviation = Surrogate.fit(space, seen).predict([o.params for o in test])
    true = np.array([smooth_score(o.params) for o in test])
    assert np.corrcoef(mean, true)[0, 1] > 0.9
    assert np.mean(np.abs(mean - true) < 3 * deviation) > 0.8


def test_a_score_seen_early_counts_as_what_it_will_have_gained_by_the_end(space: Space) -> None:
    rng = np.random.default_rng(4)
    params = [o.params for o in observe(space, [0.0] * 24)]
    ends = np.array([smooth_score(p) for p in params])
    early = ends - 0.2 + 0.005 * rng.standard_normal(24)
    observations = [
        Observation(params=p, seed=0, fidelity=f, score=float(s))
        for f, scores in ((0.5, early), (1.0, ends[:8]))
        for p, s in zip(params, scores, strict=False)
    ]
    mean, _ = Surrogate.fit(space, observations).predict(params[8:])
    assert np.mean(np.abs(mean - ends[8:])) < 0.03
    assert np.corrcoef(mean, ends[8:])[0, 1] > 0.8


def test_a_score_seen_early_leaves_more_open_than_one_seen_at_the_end(space: Space) -> None:
    rng = np.random.default_rng(5)
    params = [o.params for o in observe(space, [0.0] * 24)]
    ends = np.array([smooth_score(p) for p in params])
    early = ends - 0.2 + 0.02 * rng.standard_normal(24)
    observations = [
        Observation(params=p, seed=0, fidelity=f, score=float(s))
        for f, scores in ((0.5, early), (1.0, ends[:12]))
        for p, s in zip(params, scores, strict=False)
    ]
    _, deviation = Surrogate.fit(space, observations).predict(params)
    assert deviation[12:].mean() > 1.1 * deviation[:12].mean()


def test_gains_are_the_median_of_what_ended_from_the_same_fidelity_on() -> None:
    scores = np.array([0.1, 0.3, 0.2, 0.5, 0.1, 0.2, 0.4, 0.1, 0.0])
    fidelity = np.array([0.5, 1.0, 0.5, 1.0, 0.5, 0.75, 0.75, 0.5, 1.0])
    trainings = np.array([0, 0, 1, 1, 2, 2, 3, 4, 4])  # the last one got worse
    found = compute_median_gains(scores, fidelity, trainings)
    np.testing.assert_allclose(found, [0.2, 0, 0.2, 0, 0.2, 0, 0, 0.2, 0])


def test_the_worst_training_counts_and_one_that_collapsed_does_not(space: Space) -> None:
    early, late = observe(space, [0.3, 0.2, 0.1, 0.0], fidelity=0.5), [0.4, 0.25, 0.02, 0.0]
    ends = [dataclasses.replace(o, fidelity=1.0, score=s) for o, s in zip(early, late, strict=True)]
    pruned = observe(space, [0.2], fidelity=0.5, seed=7)
    fallen = [dataclasses.replace(o, collapsed=True) for o in (early[3], ends[3])]
    mean, _ = Surrogate.fit(space, [*early[:3], *ends[:3], *fallen, *pruned]).predict(
        [o.params for o in pruned]
    )
    without, _ = Surrogate.fit(space, [*early[:3], *ends[:3], *pruned]).predict(
        [o.params for o in pruned]
    )
    np.testing.assert_array_equal(mean, without)
    found = compute_median_gains(
        np.array([o.score for o in [*early[:3], *ends[:3]]]),
        np.array([0.5] * 3 + [1.0] * 3),
        np.array([0, 1, 2, 0, 1, 2]),
    )
    np.testing.assert_allclose(found[:3], 0.05)  # the median of 0.1, 0.05 and -0.08


def test_the_same_observations_give_the_same_surrogate(space: Space) -> None:
    observations = observe(space, list(np.random.default_rng(0).normal(0.5, 0.1, 12)))
    params = [o.params for o in observations]
    first, second = (Surrogate.fit(space, observations, seed=1).predict(params) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])


def test_the_covariance_agrees_with_the_predicted_deviation(space: Space) -> None:
    observations = observe(space, list(np.random.default_rng(0).normal(0.5, 0.1, 12)))
    surrogate = Surrogate.fit(space, observations)
    points = Domain(space).sample_points(6, np.random.default_rng(2))
    _, deviation = surrogate.predict(points)
    np.testing.assert_allclose(
        np.sqrt(np.diag(surrogate.compute_covariance(points, points))), deviation, rtol=1e-6
    )


def test_one_sound_score_among_collapsed_ones_stays_the_best() -> None:
    scores = np.array([0.45, 0.0, 0.0, 0.0])
    assert np.array_equal(raise_low_scores(scores), scores)


def test_equal_best_scores_hide_no_lower_one() -> None:
    scores = np.array([0.2, 0.4, 0.4, 0.4])
    assert np.array_equal(raise_low_scores(scores), scores)


def test_what_a_seed_does_to_all_allocations_changes_no_difference(space: Space) -> None:
    params = [o.params for o in observe(space, [0.0] * 8)]
    rng = np.random.default_rng(6)
    # Some allocations have more seeds than others, so that means would be shifted.
    trained = [(p, seed) for i, p in enumerate(params) for seed in range(3 if i < 4 else 1)]
    scores = [smooth_score(p) + 0.01 * rng.standard_normal() for p, _ in trained]
    differences = []
    for shifts in ((0.0, 0.02, -0.01), (0.0, 0.62, -0.41)):
        seen = [
            Observation(params=p, seed=seed, fidelity=1.0, score=score + shifts[seed])
            for (p, seed), score in zip(trained, scores, strict=True)
        ]
        mean, _ = Surrogate.fit(space, seen).predict(params)
        differences.append(mean - mean[0])
    spread = np.ptp(differences[0])
    np.testing.assert_allclose(differences[1], differences[0], atol=0.15 * spread)


@pytest.mark.parametrize("seeds", [4, 16])
def test_repeated_seeds_tell_as_much_as_independent_measurements(seeds: int, space: Space) -> None:
    rng = np.random.default_rng(7)
    first, second = (o.params for o in observe(space, [0.0] * 2))
    seen = [
        Observation(params=p, seed=seed, fidelity=1.0, score=score + 0.02 * rng.standard_normal())
        for seed in range(seeds)
        for p, score in ((first, 0.5), (second, 0.55))
    ]
    surrogate = Surrogate.fit(space, seen)
    points = surrogate.encoder.domain.params_to_points([first, second])
    covariance = surrogate.compute_covariance(points, points)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert error == pytest.approx(np.sqrt(2 * surrogate.noise / seeds), rel=0.1)


def test_a_score_that_is_low_because_of_its_seed_is_not_raised() -> None:
    scores = np.array([0.5, 0.48, 0.46, 0.44, -0.5, -0.52, -0.49])
    allocations, seeds = np.array([0, 1, 2, 3, 0, 1, 0]), np.array([0, 0, 0, 0, 1, 1, 2])
    shifts = compute_seed_shifts(scores, allocations, seeds)
    assert shifts == pytest.approx([0.0] * 4 + [-1.0] * 2 + [-0.99])
    assert raise_low_scores(scores).tolist() != scores.tolist()
    assert (raise_low_scores(scores - shifts) + shifts).tolist() == pytest.approx(scores)


def test_a_seed_that_shares_no_allocation_with_the_others_has_no_shift() -> None:
    shifts = compute_seed_shifts(np.array([0.5, 0.1]), np.array([0, 1]), np.array([0, 7]))
    assert shifts.tolist() == [0.0, 0.0]
