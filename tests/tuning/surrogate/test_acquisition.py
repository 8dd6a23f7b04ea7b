import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from allocator.allocation.constructions import BackboneShape
from allocator.allocation.factorizations import Flags
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Space
from allocator.tuning.space.space_file import read_space
from allocator.tuning.surrogate.acquisition import (
    NoisyExpectedImprovement,
    compute_log_improvement,
    maximize_acquisition,
)
from allocator.tuning.surrogate.observations import Observation
from allocator.tuning.surrogate.surrogate import Surrogate

BACKBONE = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space(read_space("tenslora_plus"), BACKBONE, 40_000)


@pytest.mark.parametrize("z", [-6.0, -1.001, -0.999, 0.0, 2.5])
def test_the_logarithm_of_the_improvement_is_that_of_its_integral(z: float) -> None:
    expected, _ = quad(lambda f: (f - 0.0) * norm.pdf(f, loc=z), 0, 12, epsabs=1e-18)
    assert compute_log_improvement(np.array([z]))[0] == pytest.approx(np.log(expected), rel=1e-6)


def test_the_improvement_falls_steadily_far_below_the_best() -> None:
    z = -np.geomspace(1, 1e6, 400)
    assert np.all(np.isfinite(compute_log_improvement(z)))
    assert np.all(np.diff(compute_log_improvement(z)) < 0)


def test_a_point_in_training_promises_no_more_improvement(space: Space) -> None:
    domain, rng = Domain(space), np.random.default_rng(0)
    points = domain.sample_points(12, rng)
    observations = [
        Observation(params=domain.point_to_params(p), seed=0, fidelity=1.0, score=float(s))
        for p, s in zip(points, rng.normal(0.5, 0.05, 12), strict=True)
    ]
    surrogate = Surrogate.fit(space, observations)
    pending = domain.sample_points(1, rng)
    improvement = [
        NoisyExpectedImprovement(surrogate, base, np.random.default_rng(1))(pending)[0]
        for base in (points, np.concatenate([points, pending]))
    ]
    assert improvement[1] < improvement[0] - 1.0


def test_the_best_is_sought_among_the_points_that_are_to_be_improved_on(space: Space) -> None:
    domain, rng = Domain(space), np.random.default_rng(0)
    points = domain.sample_points(12, rng)
    scores = np.where(np.arange(12) < 6, 0.9, 0.5) + rng.normal(0, 0.01, 12)
    observations = [
        Observation(params=domain.point_to_params(p), seed=0, fidelity=1.0, score=float(s))
        for p, s in zip(points, scores, strict=True)
    ]
    surrogate = Surrogate.fit(space, observations)
    new = domain.sample_points(20, rng)

    def improve(improved_on: Flags | None) -> Points:
        draws = np.random.default_rng(1)
        return NoisyExpectedImprovement(surrogate, points, draws, improved_on=improved_on)(new)

    over_all = improve(None)
    assert np.all(improve(np.arange(12) >= 6) > over_all)
    assert improve(np.zeros(12, dtype=np.bool_)).tolist() == over_all.tolist()


def test_the_maximiser_finds_the_best_feasible_ranks(space: Space) -> None:
    feasible, domain = space.feasible, Domain(space)
    assert feasible.points is not None
    weights = np.array([3.0, 1.0, 2.0, 1.0, 2.0])
    best = (np.log(feasible.points) @ weights).max()
    found = maximize_acquisition(
        lambda points: np.log(domain.read_ranks(points)) @ weights,
        domain,
        domain.are_feasible,
        domain.sample_points(1, np.random.default_rng(0)),
        np.random.default_rng(1),
    )
    assert np.log(domain.read_ranks(found[:1]))[0] @ weights == pytest.approx(best, rel=0.01)
