"""A prior's density, and what the Gaussian process makes of it."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from scipy.stats import norm

from allocator.allocation.constructions import BackboneShape
from allocator.tuning.priors.make_prior import make_prior
from allocator.tuning.priors.prior import Prior
from allocator.tuning.samplers.feasible_sampler import ask_trial
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Params, Space, make_baseline_params
from allocator.tuning.space.space_file import read_space

MINILM = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space(read_space("tenslora_plus"), MINILM, 40_000)


def some_points(space: Space, n: int) -> Points:
    return Domain(space).sample_points(n, np.random.default_rng(0))


def test_the_density_is_a_mixture_of_gaussians_in_logarithms(space: Space) -> None:
    base = make_baseline_params(space)
    proposals: tuple[Params, ...] = (base, {**base, "core_lr_multiplier": 4.0, "rank_input": 8})
    prior = Prior(name="mine", space=space, proposals=proposals)
    points = np.concatenate([prior.points, some_points(space, 50)])
    widths = np.array([0.5] * 5 + [0.7] * 2)

    def mixture(point: Points) -> float:
        shape = [
            np.prod(norm.pdf(np.log(point), np.log(c), widths) / norm.pdf(0, 0, widths))
            for c in prior.points
        ]
        return float(shape[0] + shape[1] / 2 + 0.02)

    peak = max(mixture(point) for point in prior.points)
    expected = [np.log(mixture(point) / peak) for point in points]
    np.testing.assert_allclose(prior.compute_log_density(points), expected, atol=1e-10)


@pytest.mark.parametrize("preset", ["tenslora_plus", "constructions", "lora", "tt"])
def test_the_density_is_highest_at_a_proposal_and_finite_everywhere(preset: str) -> None:
    space = build_space(read_space(preset), MINILM, 200_000)
    prior = make_prior("uniform", space, make_baseline_params(space))
    assert prior is not None
    elsewhere = prior.compute_log_density(some_points(space, 2000))
    assert prior.compute_log_density(prior.points).max() == 0.0
    assert np.isfinite(elsewhere).all()
    assert elsewhere.max() < 0.3  # overlapping Gaussians may sum to a little more between them


def search(space: Space, prior: Prior | None, trials: int, strength: float) -> list[Params]:
    """Search where the score has its best at rank_input 4 and a core rate of 4e-3."""
    sampler = FeasibleGPSampler(space, seed=0, prior_strength=strength, n_startup_trials=3)
    sampler.prior = prior
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(trials):
        trial = ask_trial(study, space)
        study.tell(trial, score(trial.params))
    return [trial.params for trial in study.get_trials()]


def score(params: Params) -> float:
    core_rate = float(params["core_lr_multiplier"]) * float(params["learning_rate"])
    off = np.log(float(params["rank_input"]) / 4) ** 2 + np.log(core_rate / 4e-3) ** 2
    return float(0.6 - 0.05 * off)


def believed(space: Space, rank_input: int) -> Prior:
    ranks = {"rank_head_dim": 4, "rank_heads": 4, "rank_qkv": 3, "rank_depth": 4}
    params = {**ranks, "rank_input": rank_input, "core_lr_multiplier": 4.0, "learning_rate": 1e-3}
    ordered = {name: params[name] for name in space.distributions}
    return Prior(name="mine", space=space, proposals=(ordered,))


def test_early_suggestions_lie_near_the_proposals(space: Space) -> None:
    prior = believed(space, 4)
    points = Domain(space).params_to_points
    with_prior = prior.compute_log_density(points(search(space, prior, 6, 10.0)[3:]))
    without = prior.compute_log_density(points(search(space, None, 6, 10.0)[3:]))
    assert with_prior.mean() > without.mean() + 1


def test_a_priors_weight_fades_as_trials_finish(space: Space) -> None:
    prior = believed(space, 30)
    trials = search(space, prior, 20, 10.0)
    density = prior.compute_log_density(Domain(space).params_to_points(trials))
    assert density[3:6].mean() > density[-6:].mean() + 1


def test_a_prior_that_is_wrong_costs_a_few_trials_alone(space: Space) -> None:
    trials = search(space, believed(space, 32), 20, 10.0)
    assert max(score(params) for params in trials[10:]) > 0.59
    assert float(trials[3]["rank_input"]) > 16  # it was followed at first


def test_a_sampler_that_was_told_no_prior_suggests_as_one_of_no_strength(space: Space) -> None:
    assert search(space, None, 6, 10.0) == search(space, None, 6, 1e-9)
