"""The coordinator's side of a worker in a separate process."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Iterator
from types import ModuleType

from allocator.errors import AllocatorError
from allocator.training.messages import (
    Boundary,
    Failure,
    OnStage,
    Orders,
    Stage,
    WorkerDied,
    ignore_stage,
)
from allocator.workers.setup import TrainingSetup
from allocator.workers.worker import run_worker

_EXIT_TIMEOUT = 10.0  # seconds for a process to end by itself before it is killed


@contextlib.contextmanager
def _hide_main_module() -> Iterator[None]:
    """Let a process that starts here not import the script that runs here.

    A worker needs nothing of it, and a script without `if __name__ == "__main__":` would search
    once more in every worker.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class ProcessWorker:
    """A worker in a separate process on this machine.

    Args:
        setup: The setup of the study's workers.
        device: `cpu`, or `cuda:<index>` among the visible devices.
        slots: Largest number of trials to train together; None to measure how many are best.
    """

    def __init__(self, setup: TrainingSetup, device: str, slots: int | None) -> None:
        self.device = device
        self._is_training = True  # until its next boundary arrives
        # A forked process could not use CUDA if this process already has.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # A daemon, which multiprocessing ends if this process exits without `close`.
        self._process = context.Process(
            target=run_worker, args=(theirs, setup, device, slots), daemon=True
        )
        with _hide_main_module():
            self._process.start()
        theirs.close()  # otherwise this end would not notice that the process closed its end

    def send_orders(self, orders: Orders) -> None:
        """Send orders in answer to a `Boundary`.

        Raises:
            WorkerDied: If the process has ended.
        """
        self._is_training = True
        try:
            self._connection.send(orders)
        except (BrokenPipeError, ConnectionResetError):
            raise self._describe_death() from None

    def receive_boundary(self, on_stage: OnStage = ignore_stage) -> Boundary:
        """Wait for the next boundary; the first one comes when the worker is ready.

        Args:
            on_stage: Told what the worker is doing until then.

        Raises:
            WorkerDied: If the process has ended.
            AllocatorError: If it has ended with this mistake of the user.
        """
        try:
            received = self._receive(on_stage)
        except (EOFError, ConnectionResetError):
            raise self._describe_death() from None
        if isinstance(received, AllocatorError):
            raise received
        if isinstance(received, Failure):
            raise self._describe_death(received)
        self._is_training = False
        return received

    def _receive(self, on_stage: OnStage) -> Boundary | Failure | AllocatorError:
        received: Boundary | Stage | Failure | AllocatorError = self._connection.recv()
        while isinstance(received, Stage):
            on_stage(received)
            received = self._connection.recv()
        return received

    def close(self) -> None:
        """End the process, even in the middle of a training."""
        self._connection.close()  # a worker that waits for orders ends by itself
        if self._is_training:
            # In the middle of a training it would notice only at its next boundary.
            self._process.terminate()
        self._process.join(_EXIT_TIMEOUT)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _describe_death(self, failure: Failure | None = None) -> WorkerDied:
        # The pipe closes before the process has ended; only then is there an exit code.
        self._process.join()
        return WorkerDied(self.device, self._process.exitcode, failure)
