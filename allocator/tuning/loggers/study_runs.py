"""The trainings of a search as runs of loggers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from optuna.trial import FrozenTrial

from allocator.files.study_folder import UNIFORM
from allocator.training.messages import Report, Stage
from allocator.tuning.loggers.logger import LoggedRun, Value
from allocator.tuning.loggers.open_loggers import Loggers
from allocator.tuning.loggers.training_runs import list_hyperparameters, list_values
from allocator.tuning.storage.trial_memory import (
    is_baseline,
    is_decided,
    is_finished,
    list_standing,
    read_budget,
    read_calibrated_loss,
    read_ending,
    read_loss,
    read_position,
    read_purpose,
    read_rival,
    read_score,
    read_seed,
)
from allocator.tuning.study.study import SearchStudy

BASELINE_KEY = "0"
"""Key of the baseline, which is the first training of every study, also if it is trained alone."""


class StudyRuns:
    """Watch a search for loggers; trainings that ended earlier are logged at once.

    A run is identified by the place of its training among the study's decisions. So a training that
    broke off goes on in its run when it is tried again, though as another trial: both have the same
    seed, and what the first has logged is what the second would.

    Args:
        study: The study.
        loggers: The loggers.
    """

    def __init__(self, study: SearchStudy, loggers: Loggers) -> None:
        self._study, self._loggers = study, loggers
        for trial in list_standing(study.trials):
            if is_finished(trial) and is_decided(trial):
                self._log_whole(trial)

    def on_stage(self, stage: Stage) -> None:
        """Log nothing of what workers are doing."""
        del stage

    def on_ready(self, slots: int) -> None:
        """Log nothing."""

    def on_started(self, number: int) -> None:
        """Start the trial's run."""
        self._loggers.start(self._describe(self._study.trials[number]))

    def on_report(self, report: Report) -> None:
        """Log what the trial has reached."""
        key = _make_key(self._study.trials[report.trial])
        values = list_values(report, self._study.config.training)
        self._loggers.log(key, report.step, values)

    def on_ended(self, number: int) -> None:
        """End the trial's run, unless the training is tried again."""
        trial = self._study.trials[number]
        if is_finished(trial):
            self._loggers.end(_make_key(trial), read_ending(trial) or "given up")

    def _describe(self, trial: FrozenTrial) -> LoggedRun:
        space, purpose, seed = self._study.space, read_purpose(trial), read_seed(trial)
        budget = read_budget(trial) or space.feasible.budget
        rival = read_rival(trial)
        asked: dict[str, Value] = {"purpose": purpose, "seed": seed}
        asked |= {} if rival is None else {"rival": rival}
        allocation = space.make_allocation(trial.params)
        spec = space.find_variant(trial.params).spec
        return LoggedRun(
            key=_make_key(trial),
            name=name_run(trial.number, purpose, rival, seed),
            purpose=purpose,
            hyperparameters={**asked, "budget": budget, **list_hyperparameters(spec, allocation)},
        )

    def _log_whole(self, trial: FrozenTrial) -> None:
        """Log what the study remembers of a training that has ended."""
        self._loggers.start(self._describe(trial))
        for step, values in self._recall(trial).items():
            self._loggers.log(_make_key(trial), step, values)
        self._loggers.end(_make_key(trial), read_ending(trial) or "given up")

    def _recall(self, trial: FrozenTrial) -> Mapping[int, Mapping[str, float]]:
        """Recall the values of a trial by boundary: of the baseline all, of others fewer.

        The study itself remembers at each boundary what it decides by, and at the last the rest.
        """
        training = self._study.config.training
        if is_baseline(trial) and read_purpose(trial) == "baseline":
            reports = self._study.baseline.read_reports(UNIFORM, read_seed(trial))
            if reports:
                return {r.step: list_values(r, training) for r in reports if _is_own(r.ending)}
        name = "calibrated_loss" if self._study.objective.decide_by == "loss" else "score"
        curve = {
            step: {"epoch": step / training.boundaries_per_epoch, name: value}
            for step, value in trial.intermediate_values.items()
        }
        if curve and read_ending(trial) in ("completed", "stopped"):
            curve[max(curve)] |= {
                "score": read_score(trial),
                "loss": read_loss(trial),
                "calibrated_loss": read_calibrated_loss(trial),
            }
        return curve


def name_run(number: int, purpose: str, rival: str | None, seed: int) -> str:
    """Name the run of a trial: what its training is, with the number in front."""
    what = purpose if rival in (None, purpose) else f"{purpose}-{rival}"
    # Leading zeros, so that names sort as numbers do. Rivals may have colons in their names.
    plain = re.sub(r"[^\w.-]+", "-", what)
    return f"{number:05d}-{plain}-seed-{seed}"


def _make_key(trial: FrozenTrial) -> str:
    return str(read_position(trial))


def _is_own(ending: str | None) -> bool:
    """Whether the scores are the training's own; those of a failed one are the majority's."""
    return ending in (None, "completed", "stopped")
