"""A worker: one device, one frozen backbone and one pack of trials."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection

from allocator.errors import AllocatorError
from allocator.training.loop import OnBoundary, OnCompleted, train_trials
from allocator.training.messages import Boundary, Failure, OnStage, Orders, Stage
from allocator.workers.devices import claim_device
from allocator.workers.setup import (
    TrainingSetup,
    load_frozen_backbone,
    load_training_splits,
    save_trained,
)
from allocator.workers.throughput import choose_slots, measure_packs


def serve_orders(
    setup: TrainingSetup,
    device: str,
    slots: int | None,
    *,
    on_boundary: OnBoundary,
    on_completed: OnCompleted,
    on_stage: OnStage,
) -> None:
    """Claim a device for this process, and train on it the trials that are ordered.

    Args:
        setup: The setup of the study's workers.
        device: As for `claim_device`.
        slots: Largest number of trials to train together; None to measure how many are best.
        on_boundary: As for `train_trials`; called first when the worker is ready.
        on_completed: As for `train_trials`.
        on_stage: Told what the worker is doing between boundaries.
    """
    on_stage(Stage(name="loading model and data"))
    backbone = load_frozen_backbone(setup, claim_device(device, setup.threads))
    splits = load_training_splits(setup, backbone.device)
    if slots is None:
        on_stage(Stage(name="timing packs"))
        measured = measure_packs(
            setup.typical,
            setup.spec,
            backbone,
            splits.train,
            setup.training,
            most_slots=setup.most_slots,
            examples=setup.num_read,
        )
        slots = choose_slots(measured).slots
    train_trials(
        backbone,
        splits,
        setup.training,
        slots=slots,
        on_boundary=on_boundary,
        on_completed=on_completed,
        on_progress=lambda fraction: on_stage(Stage(name="training", fraction=fraction)),
    )


def run_worker(
    connection: Connection, setup: TrainingSetup, device: str, slots: int | None
) -> None:
    """Train the jobs that come over a connection until it closes.

    The worker sends a `Boundary` when it is ready and at every boundary, and each time waits for
    `Orders`. What it sends in between, each a `Stage`, has no answer. If it fails, the last thing
    that it sends is a `Failure`, or the error of a user.

    Args:
        connection: Connection to the coordinator.
        setup: The setup of the study's workers.
        device: As for `claim_device`.
        slots: Largest number of trials to train together; None to measure how many are best.
    """
    # A terminal sends Ctrl-C to the workers too, but the coordinator decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # At once: an exception could come while the process is cleaning up, and be printed.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    def on_boundary(boundary: Boundary) -> Orders:
        connection.send(boundary)
        # Raises EOFError if the coordinator has closed its end; that ends the training below.
        orders: Orders = connection.recv()
        return orders

    try:
        serve_orders(
            setup,
            device,
            slots,
            on_boundary=on_boundary,
            on_completed=lambda job, slot: save_trained(setup, job, slot),
            on_stage=connection.send,
        )
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The coordinator has closed the connection, or has ended.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # do not interrupt the exit that has begun
    except Exception as error:  # noqa: BLE001  # whatever it is, the coordinator shows it
        connection.send(describe_failure(error))
        sys.exit(1)


def describe_failure(error: BaseException) -> AllocatorError | Failure:
    """Return the exception that ends a worker as it can be sent: the error of a user as it is."""
    return error if isinstance(error, AllocatorError) else Failure.describe(error)
