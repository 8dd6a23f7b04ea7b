"""Read and write what a study remembers of its trials: the user attributes of Optuna's trials.

No other module uses the names of these attributes, which users see in `trials.csv` and in
optuna-dashboard. Functions that take a `FrozenTrial` read; those that take a `Trial` write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from optuna.trial import FrozenTrial, Trial, TrialState

from allocator.training.messages import Ending, Report

_BASELINE = "baseline"
_PROTECTED = "protected"
_PROPOSED_BY = "proposed_by"
_NUM_PARAMETERS = "num_parameters"
_LOSSES = "losses"
_ENDING = "ending"
_LOSS = "loss"
_BEST_SCORE = "best_score"
_HEAD_PARAMETERS = "head_parameters"
_GIVEN_UP = "given_up"
_REASON = "reason"
_RETRY_OF = "retry_of"

Attributes = dict[str, object]
"""User attributes of a trial that is enqueued."""


def is_baseline(trial: FrozenTrial) -> bool:
    """Whether the trial is the study's uniform-rank baseline."""
    return bool(trial.user_attrs.get(_BASELINE, False))


def is_protected(trial: FrozenTrial) -> bool:
    """Whether the trial is never pruned."""
    return bool(trial.user_attrs.get(_PROTECTED, False))


def read_proposer(trial: FrozenTrial) -> str | None:
    """Return the name of the prior that proposed the trial; None if the sampler suggested it."""
    return cast("str | None", trial.user_attrs.get(_PROPOSED_BY))


def read_losses(trial: FrozenTrial) -> list[float]:
    """Return the calibrated loss at every boundary that the trial reached."""
    return list(trial.user_attrs.get(_LOSSES, []))


def read_ending(trial: FrozenTrial) -> Ending | None:
    """Return how the training ended; None while it runs, or if it broke off."""
    return cast("Ending | None", trial.user_attrs.get(_ENDING))


def read_loss(trial: FrozenTrial) -> float:
    """Return the loss at the last boundary of a trial that has ended."""
    return float(trial.user_attrs[_LOSS])


def read_best_score(trial: FrozenTrial) -> float:
    """Return the best score over the boundaries of a trial that has ended."""
    return float(trial.user_attrs[_BEST_SCORE])


def read_head_parameters(trial: FrozenTrial) -> int:
    """Return the trainable parameters of the head of a trial that has ended."""
    return int(trial.user_attrs[_HEAD_PARAMETERS])


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
    """Whether the trial broke off and its allocation is not tried again."""
    return trial.state == TrialState.FAIL and bool(trial.user_attrs.get(_GIVEN_UP, False))


def is_finished(trial: FrozenTrial) -> bool:
    """Whether the trial counts towards the study's total: completed, pruned or given up."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or is_given_up(trial)


def find_baseline(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Find the baseline's trial, ignoring attempts that broke off and are tried again."""
    return next(
        (t for t in trials if is_baseline(t) and (t.state != TrialState.FAIL or is_given_up(t))),
        None,
    )


def baseline_attributes() -> Attributes:
    """Make the attributes with which the baseline is enqueued."""
    return {_BASELINE: True, _PROTECTED: True}


def proposal_attributes(proposer: str) -> Attributes:
    """Make the attributes with which a prior's proposal is enqueued."""
    return {_PROPOSED_BY: proposer}


def retry_attributes(trial: FrozenTrial) -> Attributes:
    """Make the attributes with which a trial is enqueued that repeats a broken-off one."""
    # What the trial is; what the broken-off attempt measured is left behind.
    kept: Mapping[str, object] = {
        name: value
        for name, value in trial.user_attrs.items()
        if name in (_BASELINE, _PROTECTED, _PROPOSED_BY)
    }
    return {**kept, _RETRY_OF: trial.number}


def write_num_parameters(trial: Trial, count: int) -> None:
    """Record the number of the adapter's trainable parameters."""
    trial.set_user_attr(_NUM_PARAMETERS, count)


def append_loss(trial: Trial, calibrated_loss: float) -> None:
    """Record the calibrated loss at one more boundary."""
    # A new list: only setting an attribute writes it to the storage.
    trial.set_user_attr(_LOSSES, [*trial.user_attrs.get(_LOSSES, []), calibrated_loss])


def write_ending(trial: Trial, report: Report) -> None:
    """Record how the training ended, from its last report."""
    for name, value in {
        _ENDING: report.ending,
        _LOSS: report.loss,
        # Names written out here are for users; no code reads them back.
        "calibrated_loss": report.calibrated_loss,
        _BEST_SCORE: report.best_score,
        "train_loss": report.train_loss,
        _HEAD_PARAMETERS: report.head_parameters,
        "seconds": round(report.seconds, 2),
        **report.components,
    }.items():
        trial.set_user_attr(name, value)


def write_failure(trial: Trial, reason: str, *, is_given_up: bool) -> None:
    """Record why the trial broke off, and whether its allocation is given up."""
    trial.set_user_attr(_GIVEN_UP, is_given_up)
    trial.set_user_attr(_REASON, reason)
