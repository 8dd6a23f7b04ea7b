"""Where trainings collapse: learnt apart from how well the others score."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.allocation.constructions import BackboneShape
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.points import Domain
from allocator.tuning.space.space import Space
from allocator.tuning.space.space_file import read_space
from allocator.tuning.surrogate.observations import Observation
from allocator.tuning.surrogate.surrogate import Surrogate
from allocator.tuning.surrogate.survival import Survival

BACKBONE = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space(read_space("tenslora_plus"), BACKBONE, 40_000)


def observe(space: Space, n: int, *, cliff: float) -> list[Observation]:
    """Score allocations 0.5; those whose learning rate is above the cliff collapse at 0."""
    domain = Domain(space)
    params = [domain.point_to_params(p) for p in domain.sample_points(n, np.random.default_rng(0))]
    high = [float(p["learning_rate"]) > cliff for p in params]
    return [
        Observation(params=p, seed=0, fidelity=1.0, score=0.0 if h else 0.5, collapsed=h)
        for p, h in zip(params, high, strict=True)
    ]


def test_the_probability_falls_where_trainings_collapsed(space: Space) -> None:
    survival = Survival.fit(space, observe(space, 30, cliff=2e-3))
    assert survival is not None
    others = Domain(space).sample_points(200, np.random.default_rng(1))
    rates = np.array([float(Domain(space).point_to_params(p)["learning_rate"]) for p in others])
    logs = survival.compute_log_probability(others)
    assert np.all(logs <= 0)
    assert np.exp(logs[rates < 1e-3]).mean() > 0.8
    assert np.exp(logs[rates > 4e-3]).mean() < 0.3


def test_without_a_collapse_there_is_nothing_to_learn(space: Space) -> None:
    assert Survival.fit(space, observe(space, 8, cliff=1.0)) is None


def test_where_all_collapsed_probability_grows_with_distance(space: Space) -> None:
    observations = observe(space, 6, cliff=0.0)
    survival = Survival.fit(space, observations)
    assert survival is not None
    domain = Domain(space)
    seen = domain.params_to_points([o.params for o in observations])
    far = domain.sample_points(50, np.random.default_rng(1))
    assert (
        survival.compute_log_probability(seen).max() <= survival.compute_log_probability(far).max()
    )


def test_a_collapse_does_not_lower_what_is_expected_of_others(space: Space) -> None:
    observations = observe(space, 30, cliff=2e-3)
    sound = [o for o in observations if not o.collapsed]
    params = [o.params for o in observations]
    mean, _ = Surrogate.fit(space, observations).predict(params)
    expected, _ = Surrogate.fit(space, sound).predict(params)
    np.testing.assert_array_equal(mean, expected)
