"""What the coordinator needs of workers, devices, trials and whoever shows the progress."""

from __future__ import annotations

from typing import Protocol

from allocator.config import Precision
from allocator.training.messages import Boundary, Job, Orders, Report
from allocator.workers.setup import TrainingSetup


class Worker(Protocol):
    """A worker, wherever it runs."""

    def send_orders(self, orders: Orders) -> None:
        """Answer a boundary."""

    def receive_boundary(self) -> Boundary:
        """Wait for the next boundary, the first one when the worker is ready."""

    def close(self) -> None:
        """End the worker."""


class Devices(Protocol):
    """Where workers run."""

    names: tuple[str, ...]
    """Names of the devices, each of which gets one worker."""

    kind: str
    """Kind of the devices: `cuda` or `cpu`."""

    here: str
    """Name of a device of this machine, for computations between trainings."""

    threads: int
    """Threads of a worker that trains on processors."""

    def launch(self, setup: TrainingSetup, device: str, slots: int | None) -> Worker:
        """Start a worker on a device.

        Args:
            setup: What the worker must know.
            device: One of `names`.
            slots: Trials that it trains together; None lets it measure which number is best.
        """

    def choose_precision(self, width: int) -> Precision:
        """Choose the number format of a frozen backbone of the given hidden width."""


class Trials(Protocol):
    """The trials to train: those of a study, or of a list of allocations."""

    slots: int | None
    """Trials that a worker trains together, once that was measured."""

    @property
    def num_finished(self) -> int:
        """Number of trials that count towards the total, those of earlier runs included."""

    def start_next_trial(self) -> Job:
        """Start the next trial, and return what a worker is to train."""

    def add_report(self, report: Report) -> None:
        """Add a running trial's score and loss at a boundary."""

    def should_stop(self, number: int) -> bool:
        """Whether a running trial ends at the boundary that it reported last."""

    def tell(self, report: Report) -> None:
        """Record how a trial ended."""

    def count_attempts(self, number: int) -> int:
        """Count how often a trial's allocation has been tried, this time included."""

    def tell_failure(self, number: int, reason: str, *, retry: bool) -> None:
        """Record that a trial broke off through no fault of its allocation."""

    def interrupt_running(self) -> None:
        """Break off the running trials, which are tried again."""


class Watcher(Protocol):
    """Show the progress; trials are given by their numbers."""

    def on_ready(self, slots: int) -> None:
        """A worker is ready to train `slots` trials together."""

    def on_started(self, number: int) -> None:
        """A worker started a trial."""

    def on_report(self, report: Report) -> None:
        """A trial reached a boundary."""

    def on_ended(self, number: int) -> None:
        """A trial ended, however it did."""
