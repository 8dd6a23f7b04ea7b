"""What a study remembers of its trainings, under the names that users see."""

from __future__ import annotations

import itertools

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from allocator.config import Calibration
from allocator.training.messages import Ending, Report
from allocator.tuning.storage.trial_memory import (
    BASELINE,
    Attributes,
    Purpose,
    has_collapsed,
    has_learnt,
    is_baseline,
    is_completed,
    is_finished,
    is_given_up,
    leave_out_verdict,
    list_standing,
    make_attributes,
    read_calibrated_loss,
    read_calibration,
    read_ending,
    read_failure,
    read_head_parameters,
    read_loss,
    read_position,
    read_proposer,
    read_purpose,
    read_retried_trial,
    read_rival,
    read_round,
    read_score,
    read_seed,
    retry_attributes,
    write_attributes,
    write_ending,
    write_failure,
    write_num_parameters,
)

STATES = list(TrialState)


def make_report(ending: Ending, *, calibrated_loss: float = 0.6) -> Report:
    return Report(
        trial=0,
        ending=ending,
        score=0.5,
        loss=0.7,
        calibrated_loss=calibrated_loss,
        majority_loss=0.65,
        components={"matthews_correlation": 0.5},
        best_score=0.55,
        step=2,
        train_loss=0.4,
        num_parameters=226,
        head_parameters=66,
        seconds=1.23456,
        calibration=None if ending == "collapsed" else Calibration(scale=0.6, intercept=0.25),
    )


def attributes(
    purpose: Purpose = "search", *, position: int = 0, rival: str | None = None
) -> Attributes:
    return make_attributes(seed=3, purpose=purpose, round_=2, position=position, rival=rival)


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


WHAT_IT_IS: Attributes = {
    "seed": 3,
    "purpose": "race",
    "round": 2,
    "position": 7,
    "rival": "baseline",
    "proposed_by": "uniform",
}


def test_attributes_have_the_names_that_users_rely_on() -> None:
    study = optuna.create_study()
    made = make_attributes(
        seed=3, purpose="race", round_=2, position=7, rival=BASELINE, proposed_by="uniform"
    )
    assert made == WHAT_IT_IS
    study.enqueue_trial({}, user_attrs=made)
    trial = study.ask()
    write_num_parameters(trial, 226)
    write_ending(trial, make_report("completed"))
    write_failure(trial, "worker on cpu died", is_given_up=False)
    assert trial.user_attrs == {
        **WHAT_IT_IS,
        "num_parameters": 226,
        "ending": "completed",
        "score": 0.5,
        "loss": 0.7,
        "calibrated_loss": 0.6,
        "majority_loss": 0.65,
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


def test_a_retry_is_the_same_training_and_knows_nothing_of_what_broke_off() -> None:
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs=WHAT_IT_IS)
    trial = study.ask()
    write_ending(trial, make_report("completed"))
    assert retry_attributes(study.trials[0]) == {**WHAT_IT_IS, "retry_of": 0}


def test_what_was_written_is_read() -> None:
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs=WHAT_IT_IS)
    trial = study.ask()
    write_ending(trial, make_report("stopped"))
    write_failure(trial, "worker on cpu died", is_given_up=True)
    (frozen,) = study.trials
    assert (read_seed(frozen), read_purpose(frozen), read_rival(frozen)) == (3, "race", "baseline")
    assert (read_round(frozen), read_position(frozen), read_proposer(frozen)) == (2, 7, "uniform")
    assert read_ending(frozen) == "stopped"
    assert read_score(frozen) == 0.5
    assert (read_loss(frozen), read_calibrated_loss(frozen)) == (0.7, 0.6)
    assert read_head_parameters(frozen) == 66
    assert read_calibration(frozen) == Calibration(scale=0.6, intercept=0.25)
    assert read_calibration(remember(TrialState.COMPLETE, "collapsed")) is None
    assert read_failure(frozen) == "worker on cpu died"
    study.enqueue_trial({}, user_attrs=retry_attributes(frozen))
    study.ask()
    assert read_retried_trial(study.trials[-1]) == 0


def test_what_a_trial_was_enqueued_with_is_not_written_over() -> None:
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs={"position": 7})
    trial = study.ask()
    write_attributes(trial, {"position": 8, "seed": 1})
    assert trial.user_attrs == {"position": 7, "seed": 1}


def test_a_trial_of_another_program_reads_as_a_search_with_seed_0_in_the_order_of_numbers() -> None:
    study = optuna.create_study()
    study.ask()
    study.ask()
    trial = study.trials[1]
    assert (read_seed(trial), read_purpose(trial), read_round(trial)) == (0, "search", 0)
    assert read_position(trial) == 1
    assert not is_baseline(trial)
    for read in (
        read_rival,
        read_proposer,
        read_ending,
        read_failure,
        read_retried_trial,
        read_calibration,
    ):
        assert read(trial) is None


@pytest.mark.parametrize("purpose", ["baseline", "race", "verdict"])
def test_all_trainings_of_the_baseline_are_known_as_such(purpose: Purpose) -> None:
    assert is_baseline(
        remember(TrialState.RUNNING, queued_with=attributes(purpose, rival=BASELINE))
    )
    assert not is_baseline(remember(TrialState.RUNNING, queued_with=attributes(purpose)))


@pytest.mark.parametrize(("calibrated_loss", "learnt"), [(0.64, True), (0.649, False)])
def test_a_training_has_learnt_that_loses_less_than_the_class_shares(
    calibrated_loss: float, learnt: bool
) -> None:
    study = optuna.create_study()
    write_ending(study.ask(), make_report("completed", calibrated_loss=calibrated_loss))
    assert has_learnt(study.trials[0]) is learnt


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
def test_a_trial_stands_for_a_training_unless_another_repeats_it(
    state: TrialState, given_up: bool | None
) -> None:
    trial = remember(state, given_up=given_up)
    is_repeated = state == TrialState.FAIL and not given_up
    assert list_standing([trial]) == ([] if is_repeated else [trial])


def test_trainings_stand_in_the_order_of_decisions_whatever_their_numbers() -> None:
    trials = [
        remember(TrialState.COMPLETE, "completed", queued_with=attributes(position=position))
        for position in (0, 2, 3, 1)
    ]
    assert list(map(read_position, list_standing(trials))) == [0, 1, 2, 3]


def test_trainings_of_the_verdict_are_left_out_and_no_others() -> None:
    purposes: list[Purpose] = ["baseline", "proposal", "search", "race", "verdict"]
    trials = [remember(TrialState.COMPLETE, queued_with=attributes(p)) for p in purposes]
    assert leave_out_verdict(trials) == trials[:4]
