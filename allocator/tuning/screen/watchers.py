"""Watchers that show a search as it runs: as lines, or as a table that is redrawn in place."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from allocator.coordination.protocols import Watcher
from allocator.coordination.train_list import describe_slots
from allocator.training.messages import Report
from allocator.tuning.space.space import Space
from allocator.tuning.storage.trial_memory import (
    leave_out_verdict,
    read_ending,
    read_failure,
    read_purpose,
    read_score,
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

    def on_ready(self, slots: int) -> None:
        """Show nothing when a worker is ready."""

    def on_started(self, number: int) -> None:
        """Show nothing when a trial starts."""

    def on_report(self, report: Report) -> None:
        """Show nothing when a trial reaches a boundary."""

    def on_ended(self, number: int) -> None:
        """Show nothing when a trial ends."""


class PlainWatcher(QuietWatcher):
    """Print one line for every trial that ended, for output that is not a terminal."""

    def __init__(self, console: Console, study: SearchStudy, total: int) -> None:
        self._console, self._study, self._total = console, study, total
        self._clock = _Clock(study, total)

    def on_ready(self, slots: int) -> None:
        """Print how many trials train together."""
        self._console.print(describe_slots(slots), highlight=False)

    def on_ended(self, number: int) -> None:
        """Print the trial and the progress of the search."""
        trial = self._study.trials[number]
        ranks, multiplier, rate, parameters = format_trial_cells(self._study.space, trial)
        value = "" if trial.value is None else f" {self._study.objective.name} {trial.value:.4f}"
        if trial.value is not None:
            value += f", {self._study.config.task.metric} {read_score(trial):.4f}"
        self._console.print(
            f"trial {trial.number} ({read_purpose(trial)}, seed {read_seed(trial)}) "
            f"{_describe_state(trial)}{value}; ranks {ranks}, "
            f"lambda {multiplier}, learning rate {rate}, {parameters} parameters; "
            f"{self._study.num_finished}/{self._total} done, {self._clock.left()}",
            highlight=False,
            soft_wrap=True,
        )


class LiveWatcher(QuietWatcher):
    """Show the last trials, the best value and the time left, redrawn in place."""

    def __init__(self, console: Console, study: SearchStudy, total: int) -> None:
        self._study, self._total = study, total
        self._clock = _Clock(study, total)
        self._progress = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}"),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._progress.add_task("", total=total, best="", left="")
        self.live = Live(self._render(), console=console, refresh_per_second=4)

    def on_ready(self, slots: int) -> None:
        """Show, above the table, how many trials train together."""
        # By the live display's console, which redraws the table below; others would write into it.
        self.live.console.print(describe_slots(slots), highlight=False)

    def on_started(self, number: int) -> None:
        """Show the new trial."""
        del number
        self.live.update(self._render())

    def on_report(self, report: Report) -> None:
        """Show the trial's last value."""
        del report
        self.live.update(self._render())

    def on_ended(self, number: int) -> None:
        """Show how the trial ended."""
        del number
        self.live.update(self._render())

    def _render(self) -> Group:
        # A process that was killed while it asked for a trial left one without all parameters.
        has_all_params = self._study.space.has_all_params
        trials = [trial for trial in self._study.trials if has_all_params(trial.params)]
        objective = self._study.objective
        searched = leave_out_verdict(trials)
        completed = [trial for trial in searched if trial.state == TrialState.COMPLETE]
        values = [trial.value for trial in completed if trial.value is not None]
        best = max(values, key=lambda value: objective.sign * value, default=math.nan)
        self._progress.update(
            self._task,
            completed=self._study.num_finished,
            best=f"best {objective.name} {best:.4f}" if values else "",
            left=self._clock.left(),
        )
        # Narrow enough for a terminal of 80 columns.
        table = Table(box=None, header_style="bold", pad_edge=False)
        space = self._study.space
        ranks = "adapter, ranks" if space.variants[0].choice else "ranks"
        value_name = objective.name.replace("_", " ").replace(" ", "\n")
        for name in ("trial", "for", "seed", ranks, "lambda", "rate", "params", value_name):
            table.add_column(name, justify="right", vertical="bottom")
        table.add_column("")
        for trial in trials[-_ROWS:]:
            # A running trial has no value yet, but that of its last boundary.
            last = trial.intermediate_values.get(trial.last_step or 0)
            value = last if trial.value is None else trial.value
            table.add_row(
                str(trial.number),
                read_purpose(trial),
                str(read_seed(trial)),
                *format_trial_cells(space, trial),
                "" if value is None else f"{value:.4f}",
                _describe_progress(trial, self._study.final_step),
            )
        modes = "" if space.variants[0].choice else "ranks: " + " ".join(space.shape.rank_names)
        return Group(*filter(None, [modes]), table, self._progress)


class _Clock:
    """Estimate the time left from the trials that this run has finished."""

    def __init__(self, study: SearchStudy, total: int) -> None:
        self._study, self._total = study, total
        self._start, self._done = time.monotonic(), study.num_finished

    def left(self) -> str:
        finished = self._study.num_finished
        # Nothing has finished in this run, so there is no time to extrapolate from.
        if finished == self._done:
            return ""
        # Trials of earlier runs took no time in this run.
        per_trial = (time.monotonic() - self._start) / (finished - self._done)
        minutes, seconds = divmod(round(per_trial * max(0, self._total - finished)), 60)
        return f"{minutes}:{seconds:02d} left"


@contextmanager
def watch_search(console: Console, study: SearchStudy, total: int) -> Iterator[Watcher]:
    """Show a search while it runs: in place on a terminal, as lines elsewhere, or not at all."""
    if console.quiet:
        yield QuietWatcher()
    elif console.is_terminal:
        watcher = LiveWatcher(console, study, total)
        with watcher.live:
            yield watcher
    else:
        yield PlainWatcher(console, study, total)
