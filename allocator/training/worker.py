"""What a worker does: one device, one frozen backbone, one pack of trials."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from allocator.adapters import AdapterSpec
from allocator.adapters.description import describe
from allocator.adapters.save import serialize
from allocator.allocation import Allocation
from allocator.config import Precision, TrainingConfig
from allocator.training.backbone import FASTEST, Backbone, ForwardPath, load_backbone
from allocator.training.devices import see_only
from allocator.training.inputs import load_reader
from allocator.training.loop import OnBoundary, OnCompleted, Splits, train
from allocator.training.messages import Boundary, Job, Orders
from allocator.training.models import ModelSource
from allocator.training.slot import Slot
from allocator.training.tasks import Examples, Task
from allocator.training.throughput import choose_slots, measure_packs
from allocator.whole_files import write_whole


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerConfig:
    """Everything a worker must know before its first trial; the same for all workers of a study.

    Attributes:
        model: The pretrained model.
        spec: Adapters like the typical one; all are on its backbone shape.
        task: The task.
        train: What trials train on.
        scoring: What trials are scored on.
        training: The recipe.
        precision: Of the frozen weights.
        threads: Threads for a CPU worker.
        typical: An allocation to measure with how many trials a device trains together best.
        path: How the backbone is run.
        trains_pooler: Whether the pooler trains; None where the checkpoint decides.
    """

    model: ModelSource
    spec: AdapterSpec
    task: Task
    train: Examples
    scoring: Examples
    training: TrainingConfig
    precision: Precision
    threads: int
    typical: Allocation
    path: ForwardPath = FASTEST
    trains_pooler: bool | None = None


def load_splits(config: WorkerConfig, device: torch.device) -> Splits:
    """Turn the data of a study into what its model reads, for training on a device."""
    length = config.training.max_length
    read = load_reader(config.model, config.task, max_length=length, device=device)
    return Splits(
        train=read(config.train),
        scoring=read(config.scoring),
        metric=config.task.metric,
    )


def load_worker_backbone(config: WorkerConfig, device: torch.device) -> Backbone:
    """Load the backbone of a study onto a device."""
    return load_backbone(
        config.model,
        config.spec.shape.backbone.targets,
        num_labels=config.task.num_labels,
        precision=config.precision,
        device=device,
        path=config.path,
        trains_pooler=config.trains_pooler,
    )


def serialize_trained(config: WorkerConfig, job: Job, slot: Slot) -> bytes:
    """Turn the adapter and the head of a trial that was completed into the content of a file."""
    description = describe(
        job.spec,
        job.allocation.ranks,
        config.model.sha256,
        trains_pooler=slot.head.trains_pooler,
    )
    return serialize(slot.adapter, slot.head.trained_state(), description)


def save_trained(config: WorkerConfig, job: Job, slot: Slot) -> None:
    """Save the adapter and the head of a trial that was completed."""
    write_whole(job.save_to, serialize_trained(config, job, slot))


def serve(
    config: WorkerConfig,
    device: str,
    slots: int | None,
    *,
    on_boundary: OnBoundary,
    on_completed: OnCompleted,
) -> None:
    """Train what is ordered, on one device that this process has for itself.

    Args:
        config: What all workers know.
        device: As for `see_only`.
        slots: Trials to train together at most; None measures how many are best.
        on_boundary: Told when it is ready and at every boundary; gives the orders.
        on_completed: As for `train`.
    """
    backbone = load_worker_backbone(config, see_only(device, config.threads))
    splits = load_splits(config, backbone.device)
    if slots is None:
        measured = measure_packs(
            config.typical, config.spec, backbone, splits.train, config.training
        )
        slots = choose_slots(measured).slots
    train(
        backbone,
        splits,
        config.training,
        slots=slots,
        on_boundary=on_boundary,
        on_completed=on_completed,
    )


def run_worker(
    connection: Connection, config: WorkerConfig, device: str, slots: int | None
) -> None:
    """Train the jobs that come over a connection until it closes.

    It sends a `Boundary` when it is ready and at every boundary, and waits for `Orders` each time.

    Args:
        connection: To the coordinator.
        config: What all workers know.
        device: The device to use.
        slots: Trials to train together at most; None measures how many are best.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leaves as at its end, cleaning up

    def on_boundary(boundary: Boundary) -> Orders:
        connection.send(boundary)
        orders: Orders = connection.recv()
        return orders

    try:
        serve(
            config,
            device,
            slots,
            on_boundary=on_boundary,
            on_completed=lambda job, slot: save_trained(config, job, slot),
        )
    except (EOFError, BrokenPipeError, ConnectionResetError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
        return  # the coordinator has closed the connection, or is gone
