"""What a search shows as it runs: its phase, how far it is, and a table of its last trials."""

from __future__ import annotations

import time
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from allocator.coordination.train_list import describe_slots
from allocator.progress.run_progress import RunProgress
from allocator.training.messages import Report, Stage
from allocator.tuning.space.space import Space
from allocator.tuning.storage.trial_memory import (
    leave_out_verdict,
    read_ending,
    read_failure,
    read_purpose,
    read_seed,
)
from allocator.tuning.study.study import SearchStudy

_ROWS = 10


def format_trial_cells(space: Space, trial: FrozenTrial) -> list[str]:
    """Format ranks, lambda, learning rate and parameters of a trial, for a row of a table."""
    allocation = space.make_allocation(trial.params)
    chosen = space.find_variant(trial.params).choice.values()
    return [
        " ".join([*chosen, *map(str, allocation.ranks.values())]),
        f"{allocation.core_lr_multiplier:.3g}",
        f"{allocation.learning_rate:.2e}",
        f"{space.num_parameters(trial.params):,}",
    ]


def _describe_progress(trial: FrozenTrial, final_step: int) -> str:
    """Describe how far a training is, or how it ended."""
    state = _describe_state(trial)
    step = trial.last_step or 0
    return f"{state} {step}/{final_step}" if 0 < step < final_step else state


def _describe_state(trial: FrozenTrial) -> str:
    if trial.state == TrialState.COMPLETE:
        return read_ending(trial) or "completed"
    if trial.state == TrialState.FAIL:
        return f"failed: {read_failure(trial) or ''}"
    return trial.state.name.lower()


class QuietWatcher:
    """Show nothing."""

    def on_stage(self, stage: Stage) -> None:
        """Show nothing of what workers do."""

    def on_ready(self, slots: int) -> None:
        """Show nothing when a worker is ready."""

    def on_started(self, number: int) -> None:
        """Show nothing when a trial starts."""

    def on_report(self, report: Report) -> None:
        """Show nothing when a trial reaches a boundary."""

    def on_ended(self, number: int) -> None:
        """Show nothing when a trial ends."""


class SearchWatcher:
    """Show how far a search is, and where there is a terminal its last trials.

    Args:
        progress: Where it is shown.
        study: The study that is searched.
        part: The part of the run that its trainings are.
        timeout: Seconds after which no training starts any more.
    """

    def __init__(
        self, progress: RunProgress, study: SearchStudy, part: str, timeout: float | None = None
    ) -> None:
        self._progress, self._study = progress, study
        self._total, self._timeout, self._start = study.goal.trials, timeout, time.monotonic()
        self._finished = study.num_finished
        self._running: dict[int, FrozenTrial] = {}
        self._fraction = 0.0  # of the way to the next boundary
        progress.begin("deciding what to train", part)

    def on_stage(self, stage: Stage) -> None:
        """Show what workers are doing.

        The storage is not read, because an interrupt may come at any moment of it.
        """
        if stage.name != "training":
            self._progress.begin(stage.name)
            return
        # Of several devices the one that is ahead: the news of the others may be old.
        self._fraction = max(self._fraction, stage.fraction)
        self._progress.begin(_name_phase(list(self._running.values())))
        self._advance()

    def on_ready(self, slots: int) -> None:
        """Print how many trials train together."""
        self._progress.console.print(describe_slots(slots), highlight=False)

    def on_started(self, number: int) -> None:
        """Show the new trial."""
        self._show(number)

    def on_report(self, report: Report) -> None:
        """Show the trial's last value."""
        self._show(report.trial)

    def on_ended(self, number: int) -> None:
        """Show how the trial ended, and print why if it failed."""
        self._show(number)
        trial = self._study.trials[number]
        if trial.state == TrialState.FAIL:
            self._progress.console.print(
                f"[yellow]trial {number}[/yellow] {escape(_describe_state(trial))}",
                highlight=False,
                soft_wrap=True,
            )

    def _show(self, number: int) -> None:
        trials = self._study.trials
        self._running[number] = trials[number]
        self._running = {
            n: trials[n] for n in self._running if trials[n].state == TrialState.RUNNING
        }
        self._finished, self._fraction = self._study.num_finished, 0.0
        done = f"{self._finished}/{self._total} done"
        self._advance(done, _describe_best(self._study, trials))
        if self._progress.shows_tables:
            self._progress.show_table(_make_table(self._study, trials))

    def _advance(self, done: str | None = None, best: str = "") -> None:
        """Say how much is done; trainings in progress count by the part of them that is."""
        steps = sum((trial.last_step or 0) + self._fraction for trial in self._running.values())
        trainings = self._finished + steps / self._study.final_step
        fraction = trainings / self._total
        if self._timeout is not None:
            fraction = max(fraction, (time.monotonic() - self._start) / self._timeout)
        self._progress.advance(min(1.0, fraction), done, best)


def _name_phase(running: Sequence[FrozenTrial]) -> str:
    """Name what trainings are made for."""
    purposes = {read_purpose(trial) for trial in running}
    if purposes == {"verdict"}:
        return "proving"
    return "racing" if purposes == {"race"} else "training"


def _describe_best(study: SearchStudy, trials: Sequence[FrozenTrial]) -> str:
    """Describe the best value of the trainings that seek one; empty if there is none yet."""
    completed = [t for t in leave_out_verdict(trials) if t.state == TrialState.COMPLETE]
    # A rival over the budget is no choice.
    eligible = [t for t in completed if study.space.fits_budget(t.params)]
    values = [trial.value for trial in eligible if trial.value is not None]
    if not values:
        return ""
    best = max(values, key=lambda value: study.objective.sign * value)
    return f"best {study.objective.name.replace('_', ' ')} {best:.4f}"


def _make_table(study: SearchStudy, trials: Sequence[FrozenTrial]) -> RenderableType:
    """Make a table of the last trials, narrow enough for a terminal of 80 columns."""
    space = study.space
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    ranks = "adapter, ranks" if space.variants[0].choice else "ranks"
    value_name = study.objective.name.replace("_", " ").replace(" ", "\n")
    for name in ("trial", "for", "seed", ranks, "lambda", "rate", "params", value_name):
        table.add_column(name, justify="right", vertical="bottom")
    table.add_column("")
    # A process that was killed while it asked for a trial left one without all parameters.
    for trial in [trial for trial in trials if space.has_all_params(trial.params)][-_ROWS:]:
        # A running trial has no value yet, but that of its last boundary.
        last = trial.intermediate_values.get(trial.last_step or 0)
        value = last if trial.value is None else trial.value
        table.add_row(
            str(trial.number),
            read_purpose(trial),
            str(read_seed(trial)),
            *format_trial_cells(space, trial),
            "" if value is None else f"{value:.4f}",
            _describe_progress(trial, study.final_step),
        )
    modes = "" if space.variants[0].choice else "ranks: " + " ".join(space.shape.rank_names)
    return Group(*filter(None, [modes]), table)
