"""Pruning by losses at boundaries that all trials share."""

from __future__ import annotations

import math
from typing import get_args

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from allocator.tuning.names import PrunerName
from allocator.tuning.storage.trial_memory import append_loss, baseline_attributes
from allocator.tuning.study.pruning import (
    MedianPruner,
    SuccessiveHalvingPruner,
    make_pruner,
)


def study_of(*losses: list[float]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    for values in losses:
        newest(study, values)
    return study


def newest(study: optuna.Study, losses: list[float], *, protected: bool = False) -> FrozenTrial:
    """Add a completed trial that had these losses at its boundaries."""
    study.enqueue_trial({}, user_attrs=baseline_attributes() if protected else None)
    trial = study.ask()
    for loss in losses:
        append_loss(trial, loss)
    return study.tell(trial, 0.0)


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
def test_the_baseline_is_never_stopped(name: PrunerName) -> None:
    pruner = make_pruner(name, warmup=0.1, final_step=3)
    study = study_of(*[[0.1, 0.1]] * 8)
    assert not pruner.prune(study, newest(study, [9.0, 9.0], protected=True))
    assert pruner.prune(study, newest(study, [9.0, 9.0]))


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
