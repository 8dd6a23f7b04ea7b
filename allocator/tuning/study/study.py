"""One study as the coordinator sees it: its trainings in rounds, and how they ended."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from allocator.coordination.records import Records
from allocator.files.study_folder import trial_adapter_path
from allocator.training.messages import Job, Report
from allocator.tuning.evidence.choice import Selection, select_best, select_front
from allocator.tuning.evidence.expectations import Expectations, compute_expectations
from allocator.tuning.evidence.marginal_effects import MarginalEffect, compute_marginal_effects
from allocator.tuning.samplers.feasible_sampler import ask_trial
from allocator.tuning.space.space import Space, make_baseline_params
from allocator.tuning.storage.objective import Objective, make_objective
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import (
    is_baseline,
    is_decided,
    is_finished,
    list_standing,
    read_failure,
    read_params,
    read_position,
    read_purpose,
    read_retried_trial,
    read_seed,
    retry_attributes,
    write_attributes,
    write_ending,
    write_failure,
    write_num_parameters,
)
from allocator.tuning.study.baseline_recorder import BaselineRecorder
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.proposal_queue import ProposalQueue
from allocator.tuning.study.rounds import Decision, RoundPlanner


class SearchStudy:
    """A study and its search space, as the coordinator's source of trials.

    All trainings of a round are decided on before the first of them starts, and the next round is
    decided on when the last of them has ended. So what a study tries depends neither on how many
    trainings a device takes at once, nor on whether it was interrupted.

    Args:
        study: Optuna's study.
        space: The search space.
        config: The configuration that all trials share.
        folder: The study's folder.
        goal: The number of trainings that the study is to have.
    """

    def __init__(
        self, study: optuna.Study, space: Space, config: StudyConfig, folder: Path, goal: Goal
    ) -> None:
        self.study, self.space, self.config, self.folder = study, space, config, folder
        self.goal = goal
        self._running: dict[int, optuna.Trial] = {}
        self._queued: list[optuna.Trial] = []  # decided on, and not yet started
        self._baseline = BaselineRecorder(folder, config, space)
        searched = space.without_rivals
        proposals = ProposalQueue(study, searched, config, folder, make_baseline_params(searched))
        self._proposals = proposals
        self._planner = RoundPlanner(study, space, config, goal, proposals)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    @property
    def objective(self) -> Objective:
        """What the study optimises."""
        return make_objective(self.config.decide_by, self.config.task)

    @property
    def baseline(self) -> Records:
        """The tables of the baseline."""
        return self._baseline.records

    @property
    def num_finished(self) -> int:
        """Number of trials that count towards the total: completed, pruned or given up."""
        return sum(is_finished(trial) for trial in self.trials)

    @property
    def final_step(self) -> int:
        """Number of boundaries of a whole trial."""
        return self.config.training.num_boundaries

    @property
    def prior(self) -> str | None:
        """Name of the prior, once it was made."""
        return self._proposals.used

    @property
    def slots(self) -> int | None:
        """Number of trials that a worker trains together, once it was measured."""
        slots: int | None = self.study.user_attrs.get("slots")
        return slots

    @slots.setter
    def slots(self, value: int | None) -> None:
        self.study.set_user_attr("slots", value)

    @property
    def num_startable(self) -> int:
        """Number of trials that may start now; a new round begins when the last one has ended."""
        if not self._running:
            # One after the other: each decision sees those before it, as trials that are running.
            while (decision := self._planner.decide_next()) is not None:
                self._queued.append(self._ask(decision))
        return len(self._queued)

    def start_next_trial(self) -> Job:
        """Start the next trial of the round, and return its job for a worker."""
        trial = self._queued.pop(0)
        self._running[trial.number] = trial
        return self.make_job(self.trials[trial.number])

    def make_job(self, trial: FrozenTrial) -> Job:
        """Make a trial's job for a worker; only the baseline's first asks for measures."""
        return Job(
            trial=trial.number,
            spec=self.space.find_variant(trial.params).spec,
            allocation=self.space.make_allocation(trial.params),
            seed=read_seed(trial),
            save_to=self.adapter_path(trial.number),
            is_measured=is_baseline(trial) and read_purpose(trial) == "baseline",
        )

    def add_report(self, report: Report) -> None:
        """Add a running trial's value at a boundary."""
        trial = self._running[report.trial]
        trial.report(self.objective.read_value(report), report.step)
        if report.measures is not None:
            self._baseline.add_report(report)

    def should_stop(self, number: int) -> bool:
        """Whether a running trial ends at the boundary that it reported last."""
        return self._running[number].should_prune()

    def tell(self, report: Report) -> None:
        """Record in Optuna how a trial ended."""
        trial = self._running.pop(report.trial)
        # Attributes come first, because a completed trial without them could not be evaluated.
        write_ending(trial, report)
        if report.measures is not None and report.ending == "completed":
            # Before the state: once the baseline has ended, the prior is made from its tables.
            self._baseline.write(report, self.adapter_path(report.trial))
        # A user may have failed the trial on the dashboard, and a plain `tell` would then raise.
        if report.ending == "stopped":
            self.study.tell(report.trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            value = self.objective.read_value(report)
            self.study.tell(report.trial, value, skip_if_finished=True)

    def tell_failure(self, number: int, reason: str, *, retry: bool) -> None:
        """Record in Optuna that a trial broke off through no fault of its allocation.

        Args:
            number: The trial.
            reason: Reason why it broke off.
            retry: Whether its training is to be tried again, before any other.
        """
        # Written before the trial's state, so that the attempt counts even if the process is killed
        # in between.
        write_failure(self._running.pop(number), reason, is_given_up=not retry)
        self._break_off_trial(self.trials[number], retry=retry)
        if retry:
            self._queue_waiting()

    def interrupt_running(self) -> None:
        """Break off the trials that have not ended, also those of a killed process.

        They are tried again by the next run. Only the process that has locked the study's folder
        may call this.
        """
        self._queued, self._running = [], {}
        for trial in self.trials:
            if trial.state == TrialState.RUNNING:
                # What a process was deciding on when it was killed is decided on again.
                is_whole = is_decided(trial) and self.space.has_all_params(read_params(trial))
                self._break_off_trial(trial, retry=is_whole)

    def count_attempts(self, number: int) -> int:
        """Count how often a trial's training has been tried, this time included.

        Attempts that the user interrupted do not count.
        """
        earlier = read_retried_trial(self.trials[number])
        if earlier is None:
            return 1
        return self.count_attempts(earlier) + (read_failure(self.trials[earlier]) is not None)

    def begin(self) -> None:
        """Go on with the trials that a killed or interrupted process left, or with the baseline."""
        self.interrupt_running()
        self._queue_waiting()
        if not list_standing(self.trials):
            self._take_recorded_baseline()

    def expect(self, *, counts_verdict: bool = False) -> Expectations:
        """Compute what is expected of the allocations that were tried.

        Args:
            counts_verdict: As for `compute_expectations`.

        Raises:
            StudyError: If none is sound.
        """
        return compute_expectations(
            self.space,
            self.trials,
            final_step=self.final_step,
            objective=self.objective,
            counts_verdict=counts_verdict,
        )

    def select(self) -> Selection:
        """Choose the best allocation that was tried.

        Raises:
            StudyError: If none is sound.
        """
        return select_best(self.space, self.expect())

    def select_front(self) -> tuple[Selection, ...]:
        """Choose the best allocation that was tried for every budget, the smallest budget first.

        Raises:
            StudyError: If none is sound.
        """
        return select_front(self.space, self.expect())

    def compute_effects(self) -> list[MarginalEffect]:
        """Compute what every rank and rate does, as far as the trainings tell.

        Raises:
            StudyError: If no allocation is sound.
        """
        expectations = self.expect()
        choice = select_best(self.space, expectations).best.allocation
        return compute_marginal_effects(
            self.space,
            self.trials,
            [choice, *expectations.list_best_first()],
            final_step=self.final_step,
            objective=self.objective,
        )

    def adapter_path(self, number: int) -> Path:
        """Return the path of a completed trial's adapter."""
        return trial_adapter_path(self.folder, number)

    def _ask(self, decision: Decision) -> optuna.Trial:
        # Also without parameters, because the sampler reads the budget among the attributes.
        self.study.enqueue_trial(dict(decision.params or {}), user_attrs=decision.attributes)
        trial = ask_trial(self.study, self.space)
        write_num_parameters(trial, self.space.num_parameters(trial.params))
        # A trial that the user has enqueued on the dashboard comes first, and has none.
        write_attributes(trial, decision.attributes)
        return trial

    def _queue_waiting(self) -> None:
        """Ask for the trials that wait to be tried again, in the order of the study's decisions."""
        waiting = [trial for trial in self.trials if trial.state == TrialState.WAITING]
        for _ in waiting:
            trial = ask_trial(self.study, self.space)
            write_num_parameters(trial, self.space.num_parameters(trial.params))
            self._queued.append(trial)
        trials = self.trials
        self._queued.sort(key=lambda trial: read_position(trials[trial.number]))

    def _take_recorded_baseline(self) -> None:
        """Add a baseline that was trained before the study began to it, if there is one."""
        reports = self._baseline.read_recorded()
        if not reports or reports[-1].ending is None:
            return
        decision = self._planner.decide_next()
        assert decision is not None  # the first decision of every study is its baseline
        trial = self._ask(decision)
        self._running[trial.number] = trial
        path = self.adapter_path(trial.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A baseline that diverged or collapsed has no adapter.
        if self._baseline.adapter.exists():
            shutil.copyfile(self._baseline.adapter, path)
        for report in reports:
            # A failed training ends with the majority's score, which only `tell` records.
            if report.ending in (None, "completed"):
                self.add_report(dataclasses.replace(report, trial=trial.number))
        self.tell(dataclasses.replace(reports[-1], trial=trial.number))

    def _break_off_trial(self, trial: FrozenTrial, *, retry: bool) -> None:
        # Before the state, so that nothing is lost if the process is killed in between.
        is_queued = any(read_retried_trial(other) == trial.number for other in self.trials)
        if retry and not is_queued:
            # A new trial, because Optuna cannot put a failed one back into its queue.
            self.study.enqueue_trial(read_params(trial), user_attrs=retry_attributes(trial))
        self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
