"""The cluster's side of a Ray worker: it trains in a thread and answers the coordinator's calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import ray

from allocator.config import default_model_cache
from allocator.errors import AllocatorError
from allocator.files.recipe import ModelSection
from allocator.models.model_source import locate_model_of
from allocator.training.messages import Boundary, Failure, Orders, Stage
from allocator.workers.setup import TrainingSetup, serialize_trained
from allocator.workers.worker import describe_failure, serve_orders


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundaryWithFiles:
    """A boundary, with the adapters of the trials that it completed.

    Attributes:
        boundary: The boundary.
        files: Content of the adapters' files by their paths on the coordinator's machine.
    """

    boundary: Boundary
    files: Mapping[Path, bytes]


Received = BoundaryWithFiles | Stage | Failure | AllocatorError
"""What an actor sends: the last two once, when its training has failed."""


class RayActor:
    """An actor that trains on a machine of the cluster, where only this package is needed.

    Args:
        setup: The setup of the study's workers.
        device: As for `claim_device`, among those that Ray makes visible to this process.
        slots: Largest number of trials to train together; None to measure how many are best.
    """

    def __init__(self, setup: TrainingSetup, device: str, slots: int | None) -> None:
        self._messages: SimpleQueue[Received] = SimpleQueue()
        self._orders: SimpleQueue[Orders] = SimpleQueue()
        self._files: dict[Path, bytes] = {}
        # Training blocks until it gets orders, and an actor answers one call at a time. So training
        # runs in a thread, and the actor remains free for the call that brings the orders.
        Thread(target=self._serve, args=(setup, device, slots), daemon=True).start()

    @ray.method
    def is_there(self) -> None:
        """Return at once, which shows that Ray found a place for the actor."""

    @ray.method
    def send_orders(self, orders: Orders) -> None:
        """Send orders in answer to a boundary."""
        self._orders.put(orders)

    @ray.method
    def receive(self) -> Received:
        """Wait for the next message."""
        return self._messages.get()

    def _serve(self, setup: TrainingSetup, device: str, slots: int | None) -> None:
        try:
            setup = _locate_model(setup)
            serve_orders(
                setup,
                device,
                slots,
                on_boundary=self._exchange,
                on_completed=lambda job, slot: self._files.update(
                    {job.save_to: serialize_trained(setup, job, slot)}
                ),
                on_stage=self._messages.put,
            )
        except BaseException as error:  # noqa: BLE001  # whatever it is, the coordinator shows it
            self._messages.put(describe_failure(error))

    def _exchange(self, boundary: Boundary) -> Orders:
        # The machines of a cluster share no folder, so adapters travel with the boundary.
        self._messages.put(BoundaryWithFiles(boundary=boundary, files=self._files))
        # A new mapping: the boundary in the queue still refers to the old one.
        self._files = {}
        return self._orders.get()


def _locate_model(setup: TrainingSetup) -> TrainingSetup:
    """Locate the model on this machine, where its folder may differ from the coordinator's."""
    model = setup.model
    if model.folder.is_dir():
        return setup
    # Looked for by name, and taken only with the same checksum.
    section = ModelSection(name=model.name, sha256=model.sha256)
    return dataclasses.replace(setup, model=locate_model_of(section, default_model_cache()))
