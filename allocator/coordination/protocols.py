"""Who the coordinator deals with: workers, their devices, the trials, and who watches."""

from __future__ import annotations

from typing import Protocol

from allocator.config import Precision
from allocator.training.messages import Boundary, Job, Orders, Report
from allocator.workers.setup import TrainingSetup


class Worker(Protocol):
    """What the coordinator needs of a worker, wherever it runs."""

    def order(self, orders: Orders) -> None:
        """Answer a boundary."""

    def receive(self) -> Boundary:
        """Wait for the next boundary, the first one when the worker is ready."""

    def close(self) -> None:
        """End the worker."""


class Devices(Protocol):
    """Where workers run."""

    names: tuple[str, ...]
    """Of the devices; each has one worker."""

    kind: str
    """Of the devices: `cuda` or `cpu`."""

    here: str
    """A device of this machine, for what is computed between trainings."""

    threads: int
    """For a worker on processors."""

    def launch(self, setup: TrainingSetup, device: str, slots: int | None) -> Worker:
        """Start a worker on a device, for so many trials at once (None: as many as are best)."""

    def choose_precision(self, width: int) -> Precision:
        """Choose a precision for a frozen backbone of a hidden width."""


class Trials(Protocol):
    """What is to be trained, and where its scores go: a study, or a list."""

    slots: int | None
    """Trials that a worker trains together, once that was measured."""

    @property
    def num_finished(self) -> int:
        """Trials that count towards the total, those of earlier runs included."""

    def start_next_trial(self) -> Job:
        """Start the next trial."""

    def add_report(self, report: Report) -> None:
        """Note a running trial's score and loss at a boundary."""

    def should_stop(self, number: int) -> bool:
        """Decide whether a running trial ends at the boundary that was noted last."""

    def tell(self, report: Report) -> None:
        """Note how a trial ended."""

    def count_attempts(self, number: int) -> int:
        """Count how often a trial's allocation has been tried, this time included."""

    def tell_failure(self, number: int, reason: str, *, retry: bool) -> None:
        """Note that a trial broke off through no fault of its allocation."""

    def interrupt_running(self) -> None:
        """Break off the running trials; they are tried again."""


class Watcher(Protocol):
    """Who is told what happens, to show it; trials go by their numbers."""

    def on_ready(self, slots: int) -> None:
        """A worker is ready to train so many trials together."""

    def on_started(self, number: int) -> None:
        """A trial was handed to a worker."""

    def on_report(self, report: Report) -> None:
        """A trial reached a boundary."""

    def on_ended(self, number: int) -> None:
        """A trial ended, however it did."""
