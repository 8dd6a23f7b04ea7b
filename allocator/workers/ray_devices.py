"""Devices of a Ray cluster, each with a worker that is an actor there."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator

import ray
import torch
from ray import ObjectRef

from allocator.config import Precision
from allocator.errors import DeviceError
from allocator.workers.devices import visible_devices
from allocator.workers.precision import choose_precision
from allocator.workers.ray_worker import RayPlace, RayWorker, wait_for_first_answer
from allocator.workers.setup import TrainingSetup

_PATIENCE = 4.0  # seconds for a cluster to answer at all


class RayDevices:
    """Devices of a Ray cluster: every GPU, or where there is none every machine's processors.

    All its machines have this package. They need no folder in common, but a model or images that
    are given as a folder must lie at the same place everywhere.

    Args:
        address: The cluster's, as for `ray.init`: `auto` for the one this machine belongs to,
            `local` to start one on this machine.

    Raises:
        DeviceError: If the cluster does not answer, or has no devices.
    """

    def __init__(self, address: str) -> None:
        _connect(address)
        self._places = dict(_places())
        if not self._places:
            raise DeviceError(f"the Ray cluster at {address!r} has no GPU and no CPU to train on")
        self.names = tuple(self._places)
        self.here = visible_devices()[0]
        self.kind = torch.device(self._places[self.names[0]].device).type
        self.threads = min(max(1, place.cpus) for place in self._places.values())

    def launch(self, setup: TrainingSetup, device: str, slots: int | None) -> RayWorker:
        """Start a worker.

        Args:
            setup: What the worker must know.
            device: One of `names`.
            slots: Trials to train together at most; None lets it measure.
        """
        return RayWorker(setup, device, slots, self._places[device])

    def choose_precision(self, width: int) -> Precision:
        """Choose by what is faster on the first of them; arguments as for `choose_precision`."""
        place = self._places[self.names[0]]
        probe = ray.remote(choose_precision).options(**place.options)
        answer: ObjectRef[Precision] = probe.remote(torch.device(place.device), width)
        return wait_for_first_answer(answer, self.names[0])


def _connect(address: str) -> None:
    if ray.is_initialized():
        return
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as problem:
        reason = str(problem).splitlines()[0]
        raise DeviceError(
            f"no Ray cluster answers at {address!r} ({reason}); start one with: ray start --head"
        ) from None


def _knock(address: str) -> None:
    """Find out in seconds whether anybody listens; Ray itself would try for minutes.

    Raises:
        OSError: If nobody does.
    """
    if found := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address):
        socket.create_connection((found[1], int(found[2])), timeout=_PATIENCE).close()


def _places() -> Iterator[tuple[str, RayPlace]]:
    """Name the places of the cluster, its machines in the order of their addresses."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    nodes.sort(key=lambda node: (node["NodeManagerAddress"], node["NodeID"]))
    has_gpus = any(node["Resources"].get("GPU") for node in nodes)
    for node in nodes:
        gpus, cpus = (int(node["Resources"].get(kind, 0)) for kind in ("GPU", "CPU"))
        machine = f"{node['NodeManagerAddress']}/{node['NodeID'][:6]}"
        if not has_gpus and cpus:
            yield machine, RayPlace(node=node["NodeID"], gpus=0, cpus=cpus)
        for index in range(gpus):
            share = RayPlace(node=node["NodeID"], gpus=1, cpus=min(cpus, 1))
            yield f"{machine}/gpu{index}", share
