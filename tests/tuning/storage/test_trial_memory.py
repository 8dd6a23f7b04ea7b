"""What a study remembers of its trials, under the names that users see."""

from __future__ import annotations

import itertools

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from allocator.config import Calibration
from allocator.training.messages import Ending, Report
from allocator.tuning.storage.trial_memory import (
    Attributes,
    append_loss,
    baseline_attributes,
    find_baseline,
    has_collapsed,
    is_baseline,
    is_completed,
    is_finished,
    is_given_up,
    is_protected,
    proposal_attributes,
    read_best_score,
    read_calibration,
    read_ending,
    read_failure,
    read_head_parameters,
    read_loss,
    read_losses,
    read_proposer,
    read_retried_trial,
    retry_attributes,
    write_ending,
    write_failure,
    write_num_parameters,
)

STATES = list(TrialState)


def make_report(ending: Ending) -> Report:
    return Report(
        trial=0,
        ending=ending,
        score=0.5,
        loss=0.7,
        calibrated_loss=0.6,
        components={"matthews_correlation": 0.5},
        best_score=0.55,
        step=2,
        train_loss=0.4,
        num_parameters=226,
        head_parameters=66,
        seconds=1.23456,
        calibration=None if ending == "collapsed" else Calibration(scale=0.6, intercept=0.25),
    )


def remember(
    state: TrialState,
    ending: Ending | None = None,
    *,
    given_up: bool | None = None,
    queued_with: Attributes | None = None,
) -> FrozenTrial:
    """Make a trial in a state, with an ending or a failure written as a study writes them."""
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs=queued_with)
    trial = study.ask()
    if ending is not None:
        write_ending(trial, make_report(ending))
    if given_up is not None:
        write_failure(trial, "worker on cpu died", is_given_up=given_up)
    return create_trial(
        state=state,
        value=0.5 if state == TrialState.COMPLETE else None,
        user_attrs=trial.user_attrs,
    )


def test_attributes_have_the_names_that_users_rely_on() -> None:
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs=baseline_attributes() | proposal_attributes("uniform"))
    trial = study.ask()
    write_num_parameters(trial, 226)
    append_loss(trial, 0.8)
    append_loss(trial, 0.6)
    write_ending(trial, make_report("completed"))
    write_failure(trial, "worker on cpu died", is_given_up=False)
    assert trial.user_attrs == {
        "baseline": True,
        "protected": True,
        "proposed_by": "uniform",
        "num_parameters": 226,
        "losses": [0.8, 0.6],
        "ending": "completed",
        "loss": 0.7,
        "calibrated_loss": 0.6,
        "best_score": 0.55,
        "train_loss": 0.4,
        "head_parameters": 66,
        "calibration_scale": 0.6,
        "calibration_intercept": 0.25,
        "seconds": 1.23,
        "matthews_correlation": 0.5,
        "given_up": False,
        "reason": "worker on cpu died",
    }
    retried = retry_attributes(study.trials[0])
    assert retried == {"baseline": True, "protected": True, "proposed_by": "uniform", "retry_of": 0}


def test_what_was_written_is_read() -> None:
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs=proposal_attributes("entropy"))
    trial = study.ask()
    append_loss(trial, 0.8)
    append_loss(trial, 0.6)
    write_ending(trial, make_report("stopped"))
    write_failure(trial, "worker on cpu died", is_given_up=True)
    (frozen,) = study.trials
    assert read_proposer(frozen) == "entropy"
    assert read_losses(frozen) == [0.8, 0.6]
    assert (read_ending(frozen), read_loss(frozen), read_best_score(frozen)) == (
        "stopped",
        0.7,
        0.55,
    )
    assert read_head_parameters(frozen) == 66
    assert read_calibration(frozen) == Calibration(scale=0.6, intercept=0.25)
    assert read_calibration(remember(TrialState.COMPLETE, "collapsed")) is None
    assert read_failure(frozen) == "worker on cpu died"
    study.enqueue_trial({}, user_attrs=retry_attributes(frozen))
    study.ask()
    again = study.trials[-1]
    assert (read_retried_trial(again), read_proposer(again)) == (0, "entropy")


def test_a_trial_of_which_nothing_is_remembered_reads_as_such() -> None:
    trial = create_trial(state=TrialState.RUNNING)
    assert not is_baseline(trial)
    assert not is_protected(trial)
    assert read_losses(trial) == []
    for read in (
        read_proposer,
        read_ending,
        read_failure,
        read_retried_trial,
        read_calibration,
    ):
        assert read(trial) is None


def test_a_baseline_is_protected_and_a_proposal_is_not() -> None:
    baseline = remember(TrialState.RUNNING, queued_with=baseline_attributes())
    assert is_baseline(baseline)
    assert is_protected(baseline)
    proposal = remember(TrialState.RUNNING, queued_with=proposal_attributes("uniform"))
    assert not is_baseline(proposal)
    assert not is_protected(proposal)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("given_up", [None, False, True])
def test_a_trial_is_given_up_where_it_failed_and_is_not_tried_again(
    state: TrialState, given_up: bool | None
) -> None:
    trial = remember(state, given_up=given_up)
    assert is_given_up(trial) == (state == TrialState.FAIL and given_up is True)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("given_up", [None, False, True])
def test_a_trial_is_finished_where_it_is_completed_pruned_or_given_up(
    state: TrialState, given_up: bool | None
) -> None:
    ended = state in (TrialState.COMPLETE, TrialState.PRUNED)
    assert is_finished(remember(state, given_up=given_up)) == (
        ended or (state == TrialState.FAIL and given_up is True)
    )


ENDINGS: list[Ending | None] = [None, "completed", "stopped", "diverged", "collapsed"]


@pytest.mark.parametrize(("state", "ending"), [*itertools.product(STATES, ENDINGS)])
def test_a_trial_is_completed_where_its_training_reached_its_end(
    state: TrialState, ending: Ending | None
) -> None:
    trial = remember(state, ending)
    assert is_completed(trial) == (state == TrialState.COMPLETE and ending == "completed")
    assert has_collapsed(trial) == (ending in ("diverged", "collapsed"))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("given_up", [None, False, True])
def test_the_baseline_is_one_that_ended_or_still_can(
    state: TrialState, given_up: bool | None
) -> None:
    other = remember(TrialState.COMPLETE, "completed")
    baseline = remember(state, given_up=given_up, queued_with=baseline_attributes())
    broke_off = state == TrialState.FAIL and not given_up
    assert find_baseline([other, baseline]) is (None if broke_off else baseline)
