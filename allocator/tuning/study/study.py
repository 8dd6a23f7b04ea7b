"""One study: asks for trials, hears their scores, and remembers everything it was told."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from allocator.coordination.records import Records
from allocator.training.messages import Job, Report
from allocator.tuning.samplers.feasible_sampler import ask_trial
from allocator.tuning.space.build_space import adapter_spec
from allocator.tuning.space.space import Space, make_baseline_params
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.baseline_recorder import BaselineRecorder
from allocator.tuning.study.proposal_queue import PROPOSED_BY, ProposalQueue
from allocator.tuning.study.pruning import LOSSES, PROTECTED

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_KEPT = ("baseline", PROTECTED, PROPOSED_BY)  # of a trial that is tried again


class SearchStudy:
    """A study with its space, as the coordinator uses it.

    Args:
        study: Optuna's study.
        space: The search space.
        config: What all trials share.
        folder: The study's folder.
    """

    def __init__(
        self, study: optuna.Study, space: Space, config: StudyConfig, folder: Path
    ) -> None:
        self.study, self.space, self.config, self.folder = study, space, config, folder
        self._running: dict[int, optuna.Trial] = {}
        self._baseline = BaselineRecorder(
            folder, config, space, adapter_spec(config.space, space.shape)
        )
        self._proposals = ProposalQueue(study, space, config, folder, make_baseline_params(space))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    @property
    def baseline(self) -> Records:
        """What the baseline has shown."""
        return self._baseline.records

    @property
    def num_finished(self) -> int:
        """Trials that count towards the total: completed, pruned, or given up."""
        return sum(
            trial.state in _FINISHED
            or (trial.state == TrialState.FAIL and trial.user_attrs.get("given_up", False))
            for trial in self.trials
        )

    @property
    def final_step(self) -> int:
        """Boundaries of a whole trial."""
        return self.config.training.num_boundaries

    @property
    def prior(self) -> str | None:
        """Name of the prior that is used, once that is known."""
        return self._proposals.used

    def start_next_trial(self) -> Job:
        """Start the next trial."""
        return self.job(self.ask())

    def ask(self) -> FrozenTrial:
        """Start the next trial."""
        self._proposals.queue()
        trial = ask_trial(self.study, self.space)
        trial.set_user_attr("num_parameters", self.space.num_parameters(trial.params))
        self._running[trial.number] = trial
        return self.study.get_trials(deepcopy=False)[trial.number]

    @property
    def slots(self) -> int | None:
        """Trials that a worker trains together, once that was measured."""
        slots: int | None = self.study.user_attrs.get("slots")
        return slots

    @slots.setter
    def slots(self, value: int | None) -> None:
        self.study.set_user_attr("slots", value)

    def note(self, report: Report) -> None:
        """Note a running trial's score and loss at a boundary."""
        trial = self._running[report.trial]
        trial.report(report.score, report.step)
        trial.set_user_attr(LOSSES, [*trial.user_attrs.get(LOSSES, []), report.calibrated_loss])
        if report.measures is not None:
            self._baseline.note(report)

    def should_stop(self, number: int) -> bool:
        """Decide whether a running trial ends at the boundary that was noted last."""
        return self._running[number].should_prune()

    def tell(self, report: Report) -> None:
        """Note how a trial ended."""
        trial = self._running.pop(report.trial)
        for name, value in {
            "ending": report.ending,
            "loss": report.loss,
            "calibrated_loss": report.calibrated_loss,
            "best_score": report.best_score,
            "train_loss": report.train_loss,
            "head_parameters": report.head_parameters,
            "seconds": round(report.seconds, 2),
            **report.components,
        }.items():
            trial.set_user_attr(name, value)
        if report.measures is not None and report.ending == "completed":
            self._baseline.write(report, self.adapter_path(report.trial))
        if report.ending == "stopped":
            self.study.tell(report.trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self.study.tell(report.trial, report.score, skip_if_finished=True)

    def fail(self, number: int, reason: str, *, retry: bool) -> None:
        """Note that a trial broke off through no fault of its allocation.

        Args:
            number: The trial.
            reason: What happened.
            retry: Whether its allocation is to be tried again, before any other.
        """
        trial = self._running.pop(number)
        trial.set_user_attr("given_up", not retry)
        trial.set_user_attr("reason", reason)
        self._break_off(self.trials[number], retry=retry)

    def interrupt(self) -> None:
        """Break off the running trials, also those that a killed run left; they are tried again.

        Only the process that holds the study's lock may call this.
        """
        for trial in self.trials:
            if trial.state == TrialState.RUNNING:
                self._break_off(trial, retry=self.space.has_all_params(trial.params))

    def attempts(self, number: int) -> int:
        """Count how often a trial's allocation has been tried, this time included.

        Tries that the user broke off do not count.
        """
        earlier = self.trials[number].user_attrs.get("retry_of")
        if earlier is None:
            return 1
        return self.attempts(earlier) + ("reason" in self.trials[earlier].user_attrs)

    def start(self) -> None:
        """Queue what a killed run left behind, and the baseline where it is still to come."""
        self.interrupt()
        has_baseline = any(
            trial.user_attrs.get("baseline")
            and (trial.state != TrialState.FAIL or trial.user_attrs.get("given_up"))
            for trial in self.trials
        )
        if not has_baseline:
            self.study.enqueue_trial(
                dict(make_baseline_params(self.space)),
                user_attrs={"baseline": True, PROTECTED: True},
            )
            self._take_recorded_baseline()

    def _take_recorded_baseline(self) -> None:
        """Tell what is known of a baseline that was trained before the study began."""
        recorded = self._baseline.recorded()
        if not recorded or recorded[-1].ending is None:
            return
        number = self.ask().number
        path = self.adapter_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._baseline.adapter.exists():
            shutil.copyfile(self._baseline.adapter, path)
        for report in recorded:
            if report.ending in (None, "completed"):
                self.note(dataclasses.replace(report, trial=number))
        self.tell(dataclasses.replace(recorded[-1], trial=number))

    def job(self, trial: FrozenTrial) -> Job:
        """Say what a worker is to train for a trial; the baseline is measured."""
        return Job(
            trial=trial.number,
            spec=adapter_spec(self.config.space, self.space.variant(trial.params).shape),
            allocation=self.space.allocation(trial.params),
            save_to=self.adapter_path(trial.number),
            is_measured=bool(trial.user_attrs.get("baseline", False)),
        )

    def adapter_path(self, number: int) -> Path:
        """Say where a completed trial's adapter is."""
        return self.folder / "trials" / f"{number:05d}.safetensors"

    def _break_off(self, trial: FrozenTrial, *, retry: bool) -> None:
        self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        if retry:
            kept = {k: v for k, v in trial.user_attrs.items() if k in _KEPT}
            self.study.enqueue_trial(trial.params, user_attrs={**kept, "retry_of": trial.number})
