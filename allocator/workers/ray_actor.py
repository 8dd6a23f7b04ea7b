"""The far side of a worker on a Ray cluster: a loop in a thread, and a call for each boundary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import ray

from allocator.config import default_model_cache
from allocator.files.recipe import ModelSection
from allocator.models.model_source import locate_model_of
from allocator.training.messages import Boundary, Orders
from allocator.workers.setup import TrainingSetup, serialize_trained
from allocator.workers.worker import serve_orders


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A boundary, and the adapters of the trials that were completed, by where they belong."""

    boundary: Boundary
    files: Mapping[Path, bytes]


class RayActor:
    """Trains on the machine that Ray chose, which may hold nothing but this package.

    Args:
        setup: What all workers know.
        device: As for `see_only`, among those that Ray lets this process see.
        slots: Trials to train together at most; None measures how many are best.
    """

    def __init__(self, setup: TrainingSetup, device: str, slots: int | None) -> None:
        self._received: SimpleQueue[Received | BaseException] = SimpleQueue()
        self._orders: SimpleQueue[Orders] = SimpleQueue()
        self._files: dict[Path, bytes] = {}
        Thread(target=self._serve, args=(setup, device, slots), daemon=True).start()

    @ray.method
    def is_there(self) -> None:
        """Answer, to show that Ray found a place."""

    @ray.method
    def order(self, orders: Orders) -> None:
        """Answer a boundary."""
        self._orders.put(orders)

    @ray.method
    def receive(self) -> Received:
        """Wait for the next boundary."""
        received = self._received.get()
        if isinstance(received, BaseException):
            raise received
        return received

    def _serve(self, setup: TrainingSetup, device: str, slots: int | None) -> None:
        try:
            setup = _with_model(setup)
            serve_orders(
                setup,
                device,
                slots,
                on_boundary=self._exchange,
                on_completed=lambda job, slot: self._files.update(
                    {job.save_to: serialize_trained(setup, job, slot)}
                ),
            )
        except BaseException as failure:  # noqa: BLE001  # raised where the coordinator waits
            self._received.put(failure)

    def _exchange(self, boundary: Boundary) -> Orders:
        self._received.put(Received(boundary=boundary, files=self._files))
        self._files = {}
        return self._orders.get()


def _with_model(setup: TrainingSetup) -> TrainingSetup:
    """Find the model on this machine, which may keep it elsewhere than the coordinator's does."""
    model = setup.model
    if model.folder.is_dir():
        return setup
    section = ModelSection(name=model.name, sha256=model.sha256)
    return dataclasses.replace(setup, model=locate_model_of(section, default_model_cache()))
