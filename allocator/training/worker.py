"""A worker process: one device, one frozen backbone, one trial after the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from allocator.adapters import AdapterSpec
from allocator.adapters.save import describe, save_adapter
from allocator.allocation import Allocation
from allocator.config import Precision, TrainingConfig
from allocator.errors import ModelError, unknown
from allocator.training.backbone import load_backbone, load_tokenizer
from allocator.training.batches import tokenize
from allocator.training.loop import Outcome, Splits, Verdict, train
from allocator.training.models import ModelSource
from allocator.training.tasks import Examples, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerConfig:
    """Everything a worker must know before its first trial; the same for all workers of a study.

    Attributes:
        model: The pretrained model.
        spec: Shape, scaling and initialisation of adapters.
        task: The task.
        train: What trials train on.
        scoring: What trials are scored on.
        training: The recipe.
        precision: Of the frozen weights.
        threads: Threads for a CPU worker.
    """

    model: ModelSource
    spec: AdapterSpec
    task: Task
    train: Examples
    scoring: Examples
    training: TrainingConfig
    precision: Precision
    threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One trial to train.

    Attributes:
        trial: Its number.
        allocation: What it tries.
        save_to: Where its trained adapter goes if it is completed.
    """

    trial: int
    allocation: Allocation
    save_to: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """A trial at a boundary, waiting for a verdict."""

    trial: int
    step: int
    score: float
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A trial that has ended; its worker is free."""

    trial: int
    outcome: Outcome


Message = Boundary | Finished

_PATIENCE = 10.0  # seconds for a process to end by itself


class WorkerDied(Exception):  # noqa: N818  # an event to handle, not a mistake to report
    """A worker process that ended before its trial did."""


def visible_devices() -> list[str]:
    """List the devices that get a worker: every visible GPU, or the CPU."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]


def require_devices(names: Sequence[str]) -> None:
    """Refuse devices that are not there.

    Raises:
        ModelError: Naming the device and those that there are.
    """
    there = {"cpu", *visible_devices()}
    for name in names:
        if name not in there:
            raise ModelError(unknown("device", name, there))


def available_threads() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_splits(config: WorkerConfig) -> Splits:
    """Tokenize the data of a study."""
    tokenizer = load_tokenizer(config.model)
    length = config.training.max_length
    return Splits(
        train=tokenize(config.train, tokenizer, max_length=length),
        scoring=tokenize(config.scoring, tokenizer, max_length=length),
        metric=config.task.metric,
    )


def run_worker(connection: Connection, config: WorkerConfig, device: str) -> None:
    """Train the jobs that come over a connection until it closes.

    Every job is answered by a `Boundary` at each boundary, which waits for a verdict, and by
    `Finished` at its end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leaves as at its end, cleaning up
    place = _see_only(device, config.threads)
    backbone = load_backbone(
        config.model,
        config.spec.shape.backbone.targets,
        num_labels=config.task.num_labels,
        precision=config.precision,
        device=place,
    )
    splits = load_splits(config)

    def on_boundary(trial: int, step: int, score: float, loss: float) -> Verdict:
        connection.send(Boundary(trial=trial, step=step, score=score, loss=loss))
        verdict: Verdict = connection.recv()
        return verdict

    while True:
        try:
            job: Job = connection.recv()
            trained = train(
                job.trial,
                job.allocation,
                config.spec,
                backbone,
                splits,
                config.training,
                on_boundary,
            )
            if trained.outcome.ending == "completed":
                description = describe(config.spec, job.allocation.ranks, config.model.sha256)
                head = trained.slot.head.trained_state()
                save_adapter(job.save_to, trained.slot.adapter, head, description)
            connection.send(Finished(trial=job.trial, outcome=trained.outcome))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
            return  # the coordinator has closed the connection, or is gone


def _see_only(device: str, threads: int) -> torch.device:
    if device == "cpu":
        torch.set_num_threads(threads)
        return torch.device("cpu")
    # CUDA has not started yet in this process, so it will see this device as its only one.
    index = int(device.removeprefix("cuda:"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)
    return torch.device("cuda:0")


class ProcessWorker:
    """A worker in a process of its own on this machine, as its coordinator sees it.

    Args:
        config: What the worker must know.
        device: `cpu`, or `cuda:<index>` among the visible devices.
    """

    def __init__(self, config: WorkerConfig, device: str) -> None:
        self.device = device
        self._is_training = False
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=run_worker, args=(theirs, config, device), daemon=True
        )
        self._process.start()
        theirs.close()

    def submit(self, job: Job) -> None:
        """Start a trial.

        Raises:
            WorkerDied: If the process is gone.
        """
        self._is_training = True
        self._send(job)

    def answer(self, verdict: Verdict) -> None:
        """Answer a `Boundary`.

        Raises:
            WorkerDied: If the process is gone.
        """
        self._send(verdict)

    def receive(self) -> Message:
        """Wait for the next message of the running trial.

        Raises:
            WorkerDied: If the process is gone.
        """
        try:
            message: Message = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        self._is_training = not isinstance(message, Finished)
        return message

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        if self._is_training:
            self._process.terminate()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, message: Job | Verdict) -> None:
        try:
            self._connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def _death(self) -> WorkerDied:
        self._process.join()
        return WorkerDied(f"worker on {self.device} died, exit code {self._process.exitcode}")
