"""The luck of single trainings, apart from allocations and seeds."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.evidence.training_noise import estimate_training_noise


def make_trial(loss: float, seed: int) -> FrozenTrial:
    attributes = {"seed": seed, "ending": "completed", "calibrated_loss": loss}
    return create_trial(state=TrialState.COMPLETE, value=loss, user_attrs=attributes)


def make_allocations(losses_AS: np.ndarray) -> list[TriedAllocation]:
    return [
        TriedAllocation(
            params={"rank": place},
            trials=tuple(make_trial(float(loss), seed) for seed, loss in enumerate(losses_S)),
        )
        for place, losses_S in enumerate(losses_AS)
    ]


def test_what_allocations_and_seeds_do_is_no_noise() -> None:
    allocations = make_allocations(np.add.outer([0.5, 0.6, 0.55], [0.3, 0.1, 0.0, 0.2]))
    noise = estimate_training_noise(allocations, first_seed=0)
    assert noise is not None
    variance, freedom = noise
    assert variance == pytest.approx(0.0, abs=1e-12)
    assert freedom == (3 - 1) * (3 - 1)


def test_its_estimate_is_right_on_average() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        luck = rng.normal(0, 0.01, (4, 5))
        losses = luck + rng.normal(0, 0.1, (4, 1)) + rng.normal(0, 0.1, 5)
        noise = estimate_training_noise(make_allocations(losses), first_seed=0)
        assert noise is not None
        found.append(noise[0])
    # The standard error of the mean of 200 estimates of 9 degrees of freedom is 3%.
    assert np.mean(found) == pytest.approx(1e-4, rel=0.1)


def test_the_seed_by_which_the_race_chose_is_left_out() -> None:
    losses = np.add.outer([0.5, 0.6], [0.3, 0.1, 0.0])
    losses[:, 0] = [0.2, 0.9]
    noise = estimate_training_noise(make_allocations(losses), first_seed=0)
    assert noise is not None
    assert noise[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_without_repeats_there_is_no_estimate(num_seeds: int) -> None:
    losses = np.add.outer([0.5, 0.6], np.zeros(num_seeds))
    assert estimate_training_noise(make_allocations(losses), first_seed=0) is None
