"""The interfaces of workers, devices, trials and watchers that the coordinator uses."""

from __future__ import annotations

from typing import Protocol

from allocator.config import Precision
from allocator.training.messages import Boundary, Job, OnStage, Orders, Report, Stage
from allocator.workers.setup import TrainingSetup


class Worker(Protocol):
    """A worker, on this machine or on another one."""

    def send_orders(self, orders: Orders) -> None:
        """Send orders in answer to a boundary."""

    def receive_boundary(self, on_stage: OnStage) -> Boundary:
        """Wait for the next boundary, the first one when the worker is ready.

        Args:
            on_stage: Told what the worker is doing until then.
        """

    def close(self) -> None:
        """End the worker."""


class Devices(Protocol):
    """The devices that workers run on."""

    names: tuple[str, ...]
    """Names of the devices, each of which gets one worker."""

    kind: str
    """Kind of the devices: `cuda` or `cpu`."""

    here: str
    """Name of a device of this machine, for computations between trainings."""

    threads: int
    """Number of threads of a worker that trains on a CPU."""

    def launch(self, setup: TrainingSetup, device: str, slots: int | None) -> Worker:
        """Start a worker on a device.

        Args:
            setup: The worker's setup.
            device: One of `names`.
            slots: Number of trials that it trains together; None to measure which number is best.
        """

    def choose_precision(self, width: int) -> Precision:
        """Choose the number format of a frozen backbone of the given hidden width."""


class Trials(Protocol):
    """The trials to train: those of a study, or of a list of allocations."""

    slots: int | None
    """Number of trials that a worker trains together, once it was measured."""

    @property
    def num_startable(self) -> int:
        """Number of trials that may start now; it may grow when others have ended."""

    def start_next_trial(self) -> Job:
        """Start the next trial, and return its job for a worker."""

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
    """An object that shows the progress; trials are identified by their numbers."""

    def on_stage(self, stage: Stage) -> None:
        """Show what workers are doing until their next boundary."""

    def on_ready(self, slots: int) -> None:
        """Show that a worker is ready to train `slots` trials together."""

    def on_started(self, number: int) -> None:
        """Show that a worker started a trial."""

    def on_report(self, report: Report) -> None:
        """Show that a trial reached a boundary."""

    def on_ended(self, number: int) -> None:
        """Show that a trial ended, in whatever way."""
