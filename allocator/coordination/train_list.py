"""Train a list of allocations with one or more seeds, resuming where it stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.markup import escape

from allocator.config import Calibration
from allocator.coordination.coordinator import Coordinator
from allocator.coordination.interrupts import Interrupts
from allocator.coordination.list_config import ListConfig
from allocator.coordination.listed_trials import ListedTrials
from allocator.coordination.protocols import Devices, Watcher
from allocator.coordination.records import Records
from allocator.coordination.watcher_group import WatcherGroup
from allocator.progress.run_progress import RunProgress
from allocator.training.messages import Report, Stage
from allocator.workers.setup import TrainingSetup


def train_list(
    setup: TrainingSetup,
    config: ListConfig,
    folder: Path,
    progress: RunProgress,
    *,
    devices: Devices,
    slots: int | None,
    seeds: Sequence[int],
    phase: str = "training",
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
        progress: Where the trainings are shown; their part has begun.
        devices: The devices that workers run on.
        slots: Number of trials that a worker trains together; None to measure which number is
            best.
        seeds: Seeds of the trainings.
        phase: What they are made for, in a few words.
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
        watchers: list[Watcher] = [ListWatcher(progress, trials, seeds, phase)]
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
            progress.console.print(
                f"[yellow]{escape(name)}, seed {seed}, was given up[/yellow]: {escape(reason)}"
            )
    return records


class ListWatcher:
    """Show how far a list is.

    Args:
        progress: Where it is shown.
        trials: The trainings of one seed.
        seeds: All seeds.
        phase: What the list is trained for.
    """

    def __init__(
        self, progress: RunProgress, trials: ListedTrials, seeds: Sequence[int], phase: str
    ) -> None:
        self._progress, self._trials, self._phase = progress, trials, phase
        self._total = len(seeds) * len(trials.names)
        self._earlier = seeds.index(trials.seed) * len(trials.names)
        self._fraction = 0.0  # of the way to the next boundary

    def on_stage(self, stage: Stage) -> None:
        """Show what workers are doing."""
        if stage.name != "training":
            self._progress.begin(stage.name)
            return
        # Of several devices the one that is ahead: the news of the others may be old.
        self._fraction = max(self._fraction, stage.fraction)
        self._progress.begin(self._phase)
        self._advance()

    def on_ready(self, slots: int) -> None:
        """Print how many trials train together."""
        self._progress.console.print(describe_slots(slots), highlight=False)

    def on_started(self, number: int) -> None:
        """Show that trainings have begun."""
        del number
        self._show()

    def on_report(self, report: Report) -> None:
        """Show that a training is further."""
        del report
        self._show()

    def on_ended(self, number: int) -> None:
        """Show that a training has ended."""
        del number
        self._show()

    def _show(self) -> None:
        self._fraction = 0.0
        finished = self._earlier + self._trials.num_finished
        best = _describe_best(self._trials.records) if self._total > 1 else ""
        self._advance(f"{finished}/{self._total} done", best)

    def _advance(self, finished: str | None = None, best: str = "") -> None:
        done = self._earlier + self._trials.count_done(self._fraction)
        self._progress.advance(done / self._total, finished, best)


def _describe_best(records: Records) -> str:
    """Describe the best of all trainings that a folder records; empty if there is none yet."""
    training = records.read("training")
    completed = training[training.ending == "completed"] if len(training) else training
    return f"best calibrated loss {completed.calibrated_loss.min():.4f}" if len(completed) else ""


def describe_slots(slots: int) -> str:
    """Describe how many trials train together."""
    return f"slots      {slots}: trials that train together on each device"
