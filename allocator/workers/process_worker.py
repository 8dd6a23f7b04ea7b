"""A worker in a process of its own, as its coordinator sees it."""

from __future__ import annotations

import multiprocessing

from allocator.training.messages import Boundary, Orders, WorkerDied
from allocator.workers.setup import TrainingSetup
from allocator.workers.worker import run_worker

_PATIENCE = 10.0  # seconds for a process to end by itself


class ProcessWorker:
    """A worker in a process of its own on this machine.

    Args:
        setup: What the worker must know.
        device: `cpu`, or `cuda:<index>` among the visible devices.
        slots: Trials to train together at most; None lets it measure.
    """

    def __init__(self, setup: TrainingSetup, device: str, slots: int | None) -> None:
        self.device = device
        self._is_training = True  # until it says that it waits
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=run_worker, args=(theirs, setup, device, slots), daemon=True
        )
        self._process.start()
        theirs.close()

    def order(self, orders: Orders) -> None:
        """Answer a `Boundary`.

        Raises:
            WorkerDied: If the process is gone.
        """
        self._is_training = True
        try:
            self._connection.send(orders)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def receive(self) -> Boundary:
        """Wait for the next boundary, the first one when the worker is ready.

        Raises:
            WorkerDied: If the process is gone.
        """
        try:
            boundary: Boundary = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        self._is_training = False
        return boundary

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        if self._is_training:
            self._process.terminate()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _death(self) -> WorkerDied:
        self._process.join()
        return WorkerDied(self.device, self._process.exitcode)
