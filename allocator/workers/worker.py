"""What a worker does: one device, one frozen backbone, one pack of trials."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection

from allocator.training.loop import OnBoundary, OnCompleted, train
from allocator.training.messages import Boundary, Orders
from allocator.workers.devices import see_only
from allocator.workers.setup import WorkerConfig, load_splits, load_worker_backbone, save_trained
from allocator.workers.throughput import choose_slots, measure_packs


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
