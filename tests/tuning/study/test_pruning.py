"""Pruning by values at boundaries that all trainings share."""

from __future__ import annotations

import math
from typing import Literal, get_args

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from allocator.tuning.names import PrunerName
from allocator.tuning.storage.trial_memory import Purpose, make_attributes
from allocator.tuning.study.pruning import (
    MedianPruner,
    SuccessiveHalvingPruner,
    make_pruner,
)


def study_of(*losses: list[float]) -> optuna.Study:
    study = optuna.create_study(direction="minimize")
    for values in losses:
        newest(study, values)
    return study


def newest(
    study: optuna.Study,
    losses: list[float],
    *,
    purpose: Purpose = "search",
    seed: int = 0,
    position: int | None = None,
    budget: int | None = None,
    parameters: int = 0,
) -> FrozenTrial:
    """Add a completed training that had these losses at its boundaries."""
    attributes = make_attributes(
        seed=seed,
        purpose=purpose,
        round_=0,
        position=len(study.trials) if position is None else position,
        budget=budget,
    )
    study.enqueue_trial({}, user_attrs={**attributes, "num_parameters": parameters})
    return reported(study, losses)


def reported(study: optuna.Study, values: list[float]) -> FrozenTrial:
    trial = study.ask()
    for step, value in enumerate(values, start=1):
        trial.report(value, step)
    return study.tell(trial, values[-1])


def test_halving_stops_the_worse_half_at_a_boundary() -> None:
    pruner = SuccessiveHalvingPruner(first_step=1)
    study = study_of([0.1], [0.2], [0.3])
    assert not pruner.prune(study, newest(study, [0.15]))
    assert pruner.prune(study, newest(study, [0.25]))


@pytest.mark.parametrize(
    ("first_step", "factor", "rungs"),
    [(1, 2.0, [1, 2, 4, 8]), (2, 3.0, [2, 6]), (3, 1.5, [3, 4, 7])],
)
def test_halving_decides_at_rungs_that_grow_by_its_factor(
    first_step: int, factor: float, rungs: list[int]
) -> None:
    pruner = SuccessiveHalvingPruner(first_step=first_step, reduction_factor=factor)
    study = study_of(*[[0.1] * 9] * 8)
    stopped = [n for n in range(1, 10) if pruner.prune(study, newest(study, [9.0] * n))]
    assert stopped == rungs


def test_halving_waits_for_enough_trials_at_the_boundary() -> None:
    pruner = SuccessiveHalvingPruner(first_step=1, min_trials=4)
    study = study_of([0.1], [0.2])
    assert not pruner.prune(study, newest(study, [9.0]))


def test_trials_are_compared_at_the_same_boundary_only() -> None:
    pruner = SuccessiveHalvingPruner(first_step=1)
    study = study_of([9.0, 0.1], [9.0, 0.2], [9.0, 0.3])
    assert not pruner.prune(study, newest(study, [5.0]))
    assert pruner.prune(study, newest(study, [5.0, 0.4]))


def test_nothing_is_stopped_before_the_warm_up_has_ended() -> None:
    pruner = make_pruner("halving", warmup=0.5, final_step=4)
    study = study_of([0.1] * 4, [0.1] * 4, [0.1] * 4)
    assert not pruner.prune(study, newest(study, [9.0] * 2))
    assert pruner.prune(study, newest(study, [9.0] * 3))


def test_a_loss_that_is_not_a_number_is_stopped_by_no_comparison_with_itself() -> None:
    pruner = SuccessiveHalvingPruner(first_step=1)
    study = study_of([math.inf], [math.inf], [math.inf])
    assert not pruner.prune(study, newest(study, [0.2]))


@pytest.mark.parametrize("name", ["halving", "median"])
@pytest.mark.parametrize(
    ("purpose", "may_stop"),
    [
        ("baseline", False),
        ("proposal", True),
        ("search", True),
        ("race", False),
        ("verdict", False),
    ],
)
def test_only_what_tries_a_new_allocation_is_stopped(
    purpose: Purpose, may_stop: bool, name: PrunerName
) -> None:
    pruner = make_pruner(name, warmup=0.1, final_step=3)
    study = study_of(*[[0.1, 0.1]] * 8)
    assert pruner.prune(study, newest(study, [9.0, 9.0], purpose=purpose)) is may_stop


def test_trainings_of_other_seeds_are_not_compared() -> None:
    pruner = SuccessiveHalvingPruner(first_step=1)
    study = study_of([0.1], [0.2], [0.3])
    assert not pruner.prune(study, newest(study, [9.0], seed=1))
    assert pruner.prune(study, newest(study, [9.0], seed=0))


def test_trainings_are_compared_with_those_that_were_decided_on_before_them() -> None:
    pruner = SuccessiveHalvingPruner(first_step=1)
    study = optuna.create_study(direction="minimize")
    for position in (1, 2, 3):
        newest(study, [0.1], position=position)
    assert not pruner.prune(study, newest(study, [9.0], position=0))
    assert pruner.prune(study, newest(study, [9.0], position=4))


def test_what_broke_off_is_not_compared() -> None:
    pruner = SuccessiveHalvingPruner(first_step=1, min_trials=4)
    study = study_of([0.1], [0.2])
    trial = study.ask()
    trial.report(0.3, 1)
    study.tell(trial, state=TrialState.FAIL)
    assert not pruner.prune(study, newest(study, [9.0]))


@pytest.mark.parametrize(("direction", "worse"), [("minimize", 0.9), ("maximize", 0.1)])
def test_the_worse_are_stopped_in_a_users_own_study_of_either_direction(
    direction: Literal["minimize", "maximize"], worse: float
) -> None:
    pruner = SuccessiveHalvingPruner(first_step=1)
    study = optuna.create_study(direction=direction)
    for value in (0.4, 0.5, 0.6):
        reported(study, [value])
    assert pruner.prune(study, reported(study, [worse]))
    assert not pruner.prune(study, reported(study, [1 - worse]))


def test_nothing_is_stopped_before_half_of_the_training() -> None:
    pruner = make_pruner("halving", warmup=0.1, final_step=8)
    study = study_of(*[[0.1] * 8] * 8)
    assert not pruner.prune(study, newest(study, [9.0] * 3))
    assert pruner.prune(study, newest(study, [9.0] * 4))


def test_the_median_rule_stops_what_is_worse_than_the_median() -> None:
    pruner = MedianPruner(first_step=1)
    study = study_of([0.1], [0.2], [0.3], [0.4], [0.5])
    assert not pruner.prune(study, newest(study, [0.3]))
    assert pruner.prune(study, newest(study, [0.45]))


def test_no_pruner_stops_nothing() -> None:
    pruner: BasePruner = make_pruner("none", warmup=0.1, final_step=3)
    study = study_of(*[[0.1]] * 8)
    assert not pruner.prune(study, newest(study, [9.0]))


@pytest.mark.parametrize("name", get_args(PrunerName))
def test_every_name_makes_a_pruner(name: PrunerName) -> None:
    assert isinstance(make_pruner(name, warmup=0.1, final_step=3), BasePruner)


def test_a_suggestion_within_a_smaller_budget_is_compared_with_none_that_is_larger() -> None:
    pruner = SuccessiveHalvingPruner(first_step=1)
    study = optuna.create_study(direction="minimize")
    for loss in (0.1, 0.11, 0.12, 0.13):
        newest(study, [loss], parameters=40_000)
    for loss in (0.3, 0.31):
        newest(study, [loss], parameters=9_000)
    assert not pruner.prune(study, newest(study, [0.2], parameters=9_500, budget=10_000))
    assert pruner.prune(study, newest(study, [0.4], parameters=9_500, budget=10_000))
    # Without a budget of its own it is compared with all.
    assert pruner.prune(study, newest(study, [0.25], parameters=9_500))
