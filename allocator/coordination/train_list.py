"""Train a list of allocations with one or more seeds, resuming where it stopped."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from allocator.config import Calibration
from allocator.coordination.coordinator import Coordinator
from allocator.coordination.interrupts import Interrupts
from allocator.coordination.list_config import ListConfig
from allocator.coordination.listed_trials import ListedTrials
from allocator.coordination.protocols import Devices, Watcher
from allocator.coordination.records import Records
from allocator.coordination.watcher_group import WatcherGroup
from allocator.training.messages import Report
from allocator.workers.setup import TrainingSetup


def train_list(
    setup: TrainingSetup,
    config: ListConfig,
    folder: Path,
    console: Console,
    *,
    devices: Devices,
    slots: int | None,
    seeds: Sequence[int],
    is_measured: bool = False,
    keeps_adapters: bool = False,
    calibration: Calibration | None = None,
    watch: Callable[[ListedTrials], Watcher] | None = None,
) -> Records:
    """Train the allocations and seeds that the records in a folder lack.

    All allocations train with one seed before the next, because trials that train together share
    the seed's order of the data.

    Args:
        setup: The setup that all workers share; its seed is replaced by each of `seeds`.
        config: The list, and the configuration that its trainings share.
        folder: Folder of the records.
        console: Console on which each training is shown as it ends.
        devices: The devices that workers run on.
        slots: Number of trials that a worker trains together; None to measure which number is
            best.
        seeds: Seeds of the trainings.
        is_measured: As for `ListedTrials`.
        keeps_adapters: As for `ListedTrials`.
        calibration: As for `ListedTrials`.
        watch: Makes a further watcher of the trainings of a seed.

    Raises:
        StudyError: If the folder's records were made with another configuration, or workers keep
            dying.
        KeyboardInterrupt: If the user interrupts; what has ended is recorded.
    """
    records = Records.open(folder, config)
    interrupts = Interrupts()
    for seed in seeds:
        trials = ListedTrials(
            config,
            records,
            seed,
            is_measured=is_measured,
            keeps_adapters=keeps_adapters,
            calibration=calibration,
        )
        training = setup.training.model_copy(update={"seed": seed})
        launch = partial(devices.launch, dataclasses.replace(setup, training=training))
        watchers: list[Watcher] = [ListWatcher(console, trials, seeds)]
        if watch is not None:
            watchers.append(watch(trials))
        with interrupts.handled():
            Coordinator(
                trials,
                launch,
                devices.names,
                WatcherGroup(*watchers),
                slots=slots,
                waiting=interrupts.waiting,
            ).run()
        slots = slots or trials.slots  # measured with the first seed, used for all
        for name, reason in trials.given_up.items():
            console.print(f"[yellow]{name}, seed {seed}, was given up[/yellow]: {reason}")
    return records


class ListWatcher:
    """Print one line for every training that ended."""

    def __init__(self, console: Console, trials: ListedTrials, seeds: Sequence[int]) -> None:
        self._console, self._trials, self._seeds = console, trials, seeds
        self._start, self._done = time.monotonic(), trials.progress

    def on_ready(self, slots: int) -> None:
        """Print how many trials train together."""
        self._console.print(describe_slots(slots), highlight=False)

    def on_started(self, number: int) -> None:
        """Show nothing."""

    def on_report(self, report: Report) -> None:
        """Show nothing."""

    def on_ended(self, number: int) -> None:
        """Print the score and the progress through the list."""
        trials, name = self._trials, self._trials.name(number)
        if name in trials.given_up:
            return
        reports = trials.records.read_reports(name, trials.seed)
        if not reports:
            return  # the training broke off, and is tried again
        last, total = reports[-1], len(trials.names)
        earlier = self._seeds.index(trials.seed) * total
        self._console.print(
            f"{name}, seed {trials.seed}: {last.ending}, score {last.score:.4f}, "
            f"loss {last.loss:.4f}, {last.num_parameters:,} parameters; "
            f"{earlier + trials.num_finished}/{len(self._seeds) * total} done"
            f"{self._estimate_time_left()}",
            highlight=False,
            soft_wrap=True,
        )

    def _estimate_time_left(self) -> str:
        """Estimate the time for the trainings that are left, of this seed and the others."""
        trials = self._trials
        done, total = trials.progress - self._done, len(trials.names)
        later = len(self._seeds) - 1 - self._seeds.index(trials.seed)
        # Later seeds count in full, even if some of their trainings are recorded.
        missing = total - trials.progress + later * total
        # Not a division by zero: a training of this run has just ended.
        seconds = (time.monotonic() - self._start) / done * missing
        if seconds < 90:
            return ", about a minute left" if missing else ""
        return f", about {seconds / 60:.0f} minutes left"


def describe_slots(slots: int) -> str:
    """Describe how many trials train together."""
    return f"slots      {slots}: trials that train together on each device"
