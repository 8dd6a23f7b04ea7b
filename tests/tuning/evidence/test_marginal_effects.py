"""Effects of ranks and rates, on surfaces whose effects are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from allocator.tuning.evidence.marginal_effects import MarginalEffect, trace_effects
from allocator.tuning.evidence.told_changes import find_changes
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.points import Domain
from allocator.tuning.space.space import Params, Space
from allocator.tuning.space.space_file import SpaceFile, read_space
from allocator.tuning.surrogate.observations import Observation
from tests.tuning.evidence.effect_surfaces import (
    MINILM,
    WITHOUT_EFFECT,
    Surface,
    Tally,
    known_loss,
    level_loss,
)

SEEDS = 4


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space(read_space("tenslora_plus"), MINILM, 40_000)


def observe(
    space: Space, surface: Surface, n: int, *, seed: int = 0, noise: float = 0.002
) -> list[Observation]:
    """Train allocations at random, with luck; the score is the loss with its sign changed."""
    domain, rng = Domain(space), np.random.default_rng(seed)
    params = [domain.point_to_params(point) for point in domain.sample_points(n, rng)]
    return [
        Observation(
            params=p,
            seed=0,
            fidelity=1.0,
            score=-surface({k: v for k, v in p.items() if not isinstance(v, str)})
            + noise * rng.standard_normal(),
        )
        for p in params
    ]


def find_best(observations: Sequence[Observation]) -> Params:
    return max(observations, key=lambda o: o.score).params


def trace(space: Space, observations: Sequence[Observation]) -> dict[str, MarginalEffect]:
    effects = trace_effects(space, observations, [find_best(observations)], sign=-1.0)
    return {effect.name: effect for effect in effects}


def read_base(effects: dict[str, MarginalEffect]) -> dict[str, float]:
    return {name: float(effect.values[effect.own]) for name, effect in effects.items()}


def tally(space: Space, surface: Surface, n: int) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for seed in range(SEEDS):
        effects = trace(space, observe(space, surface, n, seed=seed))
        for name, effect in effects.items():
            found.setdefault(name, Tally(covered=[])).add(effect, read_base(effects), surface)
    return found


def test_bands_cover_known_effects_and_nothing_is_told_of_what_has_none(space: Space) -> None:
    found = tally(space, known_loss, 40)
    assert np.mean([share for t in found.values() for share in t.covered]) > 0.9
    assert found["rank_input"].told > 0
    assert found["learning_rate"].told > SEEDS  # on both sides of the optimum
    assert [found[name].told for name in WITHOUT_EFFECT] == [0, 0, 0]
    assert sum(t.false for t in found.values()) == 0


def test_nothing_is_told_of_a_level_surface(space: Space) -> None:
    found = tally(space, level_loss, 12)
    assert sum(t.told for t in found.values()) == 0
    assert np.mean([share for t in found.values() for share in t.covered]) > 0.95


def test_an_optimum_within_the_range_is_told_from_both_sides(space: Space) -> None:
    effect = trace(space, observe(space, known_loss, 60, noise=0.0005))["learning_rate"]
    first, last = find_changes(effect)
    assert first.difference < 0 < last.difference
    assert effect.values[first.start] < effect.values[first.end] <= effect.values[last.start]


def test_the_errors_are_those_of_differences_and_not_of_single_points(space: Space) -> None:
    effect = trace(space, observe(space, known_loss, 20))["rank_input"]
    assert np.diag(effect.errors) == pytest.approx(0.0, abs=1e-9)
    deviations = np.sqrt(np.diag(effect.covariance))
    near = effect.errors[0, 1]
    assert 0 < near < 0.5 * np.hypot(deviations[0], deviations[1])


def test_no_point_leaves_the_budget_or_what_was_tried(space: Space) -> None:
    observations = observe(space, known_loss, 15)
    for seen in (observations, [o for o in observations if int(o.params["rank_input"]) <= 10]):
        base = find_best(seen)
        for name, effect in trace(space, seen).items():
            assert all(
                space.fits_budget({**base, name: type(base[name])(v)})
                for v in effect.values.tolist()
            )
            tried = [float(o.params[name]) for o in seen]
            assert min(tried) <= effect.values[0]
            assert effect.values[-1] <= max(tried)
            assert effect.values[effect.own] == base[name]


def test_a_rate_is_not_told_of_where_no_core_learnt_as_fast(space: Space) -> None:
    observations = observe(space, known_loss, 30)
    slow = [
        o
        for o in observations
        if float(o.params["core_lr_multiplier"]) * float(o.params["learning_rate"]) < 5e-3
    ]
    base = find_best(slow)
    fastest = max(float(o.params["learning_rate"]) for o in slow)
    effect = trace(space, slow)["learning_rate"]
    assert effect.values[-1] < fastest
    assert effect.values[-1] * float(base["core_lr_multiplier"]) < 5e-3


def test_what_collapsed_is_not_told_of(space: Space) -> None:
    observations = observe(space, known_loss, 20)
    highest = max(observations, key=lambda o: float(o.params["learning_rate"]))
    seen = [dataclasses.replace(o, collapsed=True) if o is highest else o for o in observations]
    assert trace(space, seen)["learning_rate"].values[-1] < float(highest.params["learning_rate"])


def test_a_parameter_of_one_kind_is_varied_in_the_best_allocation_that_has_it() -> None:
    file = SpaceFile(construction=("att", "att_qkv_depth"), factorization=("tucker", "cp"))
    space = build_space(file, MINILM, 40_000)
    observations = observe(space, level_loss, 24)
    bases = [o.params for o in sorted(observations, key=lambda o: -o.score)]
    effects = {e.name: e for e in trace_effects(space, observations, bases, sign=-1.0)}
    assert set(space.distributions) - set(space.choices) == set(effects)
    for name, effect in effects.items():
        base = next(p for p in bases if name in p)
        alike = [p for p in bases if space.find_variant(p) is space.find_variant(base)]
        assert effect.values[effect.own] == base[name]
        assert effect.values[-1] <= max(float(p[name]) for p in alike)


def test_an_allocation_that_is_alone_of_its_kind_tells_nothing(space: Space) -> None:
    effects = trace(space, observe(space, known_loss, 1))
    assert all(len(effect.values) == 1 for effect in effects.values())
    assert all(find_changes(effect) == [] for effect in effects.values())
