"""Read and write what a study remembers of its trainings: the user attributes of Optuna's trials.

Every trial is a training: an allocation and a seed. No other module uses the names of these
attributes, which users see in `trials.csv` and in optuna-dashboard. Functions that take a
`FrozenTrial` read; those that take a `Trial` write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from optuna.trial import FrozenTrial, Trial, TrialState

from allocator.config import Calibration
from allocator.training.messages import Ending, Report

Purpose = Literal["baseline", "rival", "proposal", "search", "race", "verdict"]
"""Why a training is made: to measure the baseline, to try a rival, a prior's proposal or the
sampler's suggestion, to tell the leaders apart by another seed, or to prove the choice."""

BASELINE = "baseline"
"""Name, among the rivals, of the study's uniform-rank baseline; `name_baseline` names those of
smaller budgets."""

_SEED = "seed"
_PURPOSE = "purpose"
_RIVAL = "rival"
_ROUND = "round"
_POSITION = "position"
_PROPOSED_BY = "proposed_by"
_BUDGET = "budget"
_NUM_PARAMETERS = "num_parameters"
_ENDING = "ending"
_SCORE = "score"
_LOSS = "loss"
_CALIBRATED_LOSS = "calibrated_loss"
_MAJORITY_LOSS = "majority_loss"
_HEAD_PARAMETERS = "head_parameters"
_CALIBRATION_SCALE = "calibration_scale"
_CALIBRATION_INTERCEPT = "calibration_intercept"
_GIVEN_UP = "given_up"
_REASON = "reason"
_RETRY_OF = "retry_of"

# Fraction of the class shares' loss by which a training must be better to have learnt anything. The
# calibrated loss is fitted to the examples, and so a little lower than that of the shares itself.
_LEARNT = 0.005

Attributes = dict[str, object]
"""User attributes of a trial that is enqueued."""


def name_baseline(budget: int | None = None) -> str:
    """Name the uniform-rank baseline of a smaller budget; that of the study's own without one."""
    return BASELINE if budget is None else f"{BASELINE}-{budget}"


def read_params(trial: FrozenTrial) -> dict[str, int | float | str]:
    """Return the trial's parameters, those that it was enqueued with included.

    A process that was killed while it asked for them left only some as parameters of the trial.
    """
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def is_decided(trial: FrozenTrial) -> bool:
    """Whether it is recorded what the training is; a process may be killed while it records it."""
    return trial.user_attrs.keys() >= {_SEED, _PURPOSE, _ROUND, _POSITION}


def read_seed(trial: FrozenTrial) -> int:
    """Return the seed of the training; 0 for a trial that another program started."""
    return int(trial.user_attrs.get(_SEED, 0))


def read_purpose(trial: FrozenTrial) -> Purpose:
    """Return why the training is made."""
    return cast("Purpose", trial.user_attrs.get(_PURPOSE, "search"))


def read_rival(trial: FrozenTrial) -> str | None:
    """Return the name of the rival that the training is of, if it is of one."""
    return cast("str | None", trial.user_attrs.get(_RIVAL))


def is_baseline(trial: FrozenTrial) -> bool:
    """Whether the training is of the study's uniform-rank baseline."""
    return read_rival(trial) == BASELINE


def read_round(trial: FrozenTrial) -> int:
    """Return the number of the round that decided on the training."""
    return int(trial.user_attrs.get(_ROUND, 0))


def read_position(trial: FrozenTrial) -> int:
    """Return the training's place in the order of the study's decisions.

    The trial that repeats a training which broke off has the place of that one.
    """
    return int(trial.user_attrs.get(_POSITION, trial.number))


def read_proposer(trial: FrozenTrial) -> str | None:
    """Return the name of the prior that proposed the trial; None if the sampler suggested it."""
    return cast("str | None", trial.user_attrs.get(_PROPOSED_BY))


def read_budget(trial: FrozenTrial) -> int | None:
    """Return the budget within which the sampler suggests the trial; None for the study's own."""
    return cast("int | None", trial.user_attrs.get(_BUDGET))


def read_ending(trial: FrozenTrial) -> Ending | None:
    """Return how the training ended; None while it runs, or if it broke off."""
    return cast("Ending | None", trial.user_attrs.get(_ENDING))


def read_score(trial: FrozenTrial) -> float:
    """Return the task's metric at the last boundary of a training that has ended."""
    return float(trial.user_attrs[_SCORE])


def read_loss(trial: FrozenTrial) -> float:
    """Return the loss at the last boundary of a training that has ended."""
    return float(trial.user_attrs[_LOSS])


def read_calibrated_loss(trial: FrozenTrial) -> float:
    """Return the calibrated loss at the last boundary of a training that has ended."""
    return float(trial.user_attrs[_CALIBRATED_LOSS])


def has_learnt(trial: FrozenTrial) -> bool:
    """Whether a training that has ended answers better than the class shares, or the mean score."""
    majority = float(trial.user_attrs[_MAJORITY_LOSS])
    return read_calibrated_loss(trial) < (1 - _LEARNT) * majority


def read_head_parameters(trial: FrozenTrial) -> int:
    """Return the trainable parameters of the head of a training that has ended."""
    return int(trial.user_attrs[_HEAD_PARAMETERS])


def read_calibration(trial: FrozenTrial) -> Calibration | None:
    """Return the calibration of the trial's answers; None if it diverged or collapsed.

    Trials of earlier versions have none either, and their adapters are not calibrated.
    """
    if _CALIBRATION_SCALE not in trial.user_attrs:
        return None
    return Calibration(
        scale=trial.user_attrs[_CALIBRATION_SCALE],
        intercept=trial.user_attrs[_CALIBRATION_INTERCEPT],
    )


def read_failure(trial: FrozenTrial) -> str | None:
    """Return why the trial broke off; None if it did not, or if the user interrupted it."""
    return cast("str | None", trial.user_attrs.get(_REASON))


def read_retried_trial(trial: FrozenTrial) -> int | None:
    """Return the number of the broken-off trial that this one repeats, if it repeats one."""
    return cast("int | None", trial.user_attrs.get(_RETRY_OF))


def has_collapsed(trial: FrozenTrial) -> bool:
    """Whether the training gave all inputs the same answer, or diverged."""
    return read_ending(trial) in ("collapsed", "diverged")


def is_completed(trial: FrozenTrial) -> bool:
    """Whether the training reached its last boundary, and so left an adapter."""
    return trial.state == TrialState.COMPLETE and read_ending(trial) == "completed"


def is_given_up(trial: FrozenTrial) -> bool:
    """Whether the trial broke off and its training is not tried again."""
    return trial.state == TrialState.FAIL and bool(trial.user_attrs.get(_GIVEN_UP, False))


def is_finished(trial: FrozenTrial) -> bool:
    """Whether the trial counts towards the study's total: completed, pruned or given up."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or is_given_up(trial)


def list_standing(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """List the trials that stand for a training each, in the order of the study's decisions.

    Trials that broke off, and whose training is tried again, are left out. So a study that was
    interrupted has the same list as one that was not.
    """
    standing = [t for t in trials if t.state != TrialState.FAIL or is_given_up(t)]
    return sorted(standing, key=lambda trial: (read_position(trial), trial.number))


def leave_out_verdict(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials by which a study may choose: all but those that prove its choice."""
    return [trial for trial in trials if read_purpose(trial) != "verdict"]


def make_attributes(
    *,
    seed: int,
    purpose: Purpose,
    round_: int,
    position: int,
    rival: str | None = None,
    proposed_by: str | None = None,
    budget: int | None = None,
) -> Attributes:
    """Make the attributes that say what a training is."""
    always: Attributes = {_SEED: seed, _PURPOSE: purpose, _ROUND: round_, _POSITION: position}
    optional = {_RIVAL: rival, _PROPOSED_BY: proposed_by, _BUDGET: budget}
    return always | {name: value for name, value in optional.items() if value is not None}


def retry_attributes(trial: FrozenTrial) -> Attributes:
    """Make the attributes with which a trial is enqueued that repeats a broken-off one."""
    # What the training is; what the broken-off attempt measured is left behind.
    names = (_SEED, _PURPOSE, _RIVAL, _ROUND, _POSITION, _PROPOSED_BY, _BUDGET)
    kept: Mapping[str, object] = {n: v for n, v in trial.user_attrs.items() if n in names}
    return {**kept, _RETRY_OF: trial.number}


def write_attributes(trial: Trial, attributes: Attributes) -> None:
    """Record what a training is, unless the trial was enqueued with it."""
    for name, value in attributes.items():
        if name not in trial.user_attrs:
            trial.set_user_attr(name, value)


def read_num_parameters(trial: FrozenTrial) -> int:
    """Return the number of the adapter's trainable parameters."""
    return int(trial.user_attrs[_NUM_PARAMETERS])


def write_num_parameters(trial: Trial, count: int) -> None:
    """Record the number of the adapter's trainable parameters."""
    trial.set_user_attr(_NUM_PARAMETERS, count)


def write_ending(trial: Trial, report: Report) -> None:
    """Record how the training ended, from its last report."""
    for name, value in {
        _ENDING: report.ending,
        _SCORE: report.score,
        _LOSS: report.loss,
        _CALIBRATED_LOSS: report.calibrated_loss,
        _MAJORITY_LOSS: report.majority_loss,
        # Names written out here are for users; no code reads them back.
        "best_score": report.best_score,
        "train_loss": report.train_loss,
        _HEAD_PARAMETERS: report.head_parameters,
        "seconds": round(report.seconds, 2),
        **report.components,
    }.items():
        trial.set_user_attr(name, value)
    if report.calibration is not None:
        trial.set_user_attr(_CALIBRATION_SCALE, report.calibration.scale)
        trial.set_user_attr(_CALIBRATION_INTERCEPT, report.calibration.intercept)


def write_failure(trial: Trial, reason: str, *, is_given_up: bool) -> None:
    """Record why the trial broke off, and whether its training is given up."""
    trial.set_user_attr(_GIVEN_UP, is_given_up)
    trial.set_user_attr(_REASON, reason)
