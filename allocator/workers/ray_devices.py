"""Devices of a Ray cluster; each has an actor as its worker."""

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
from allocator.workers.devices import list_visible_devices
from allocator.workers.precision import choose_precision
from allocator.workers.ray_worker import RayPlace, RayWorker, wait_for_first_answer
from allocator.workers.setup import TrainingSetup

_CONNECTION_TIMEOUT = 4.0  # seconds for a cluster to accept a connection


class RayDevices:
    """Devices of a Ray cluster: every GPU or, if there is none, the CPU of every machine.

    All machines of the cluster need this package. They need no shared folder, but a model or images
    that are given as a folder must lie at the same path on all of them.

    Args:
        address: Address of the cluster, as for `ray.init`: `auto` for the cluster that this machine
            belongs to, `local` to start one on this machine.

    Raises:
        DeviceError: If the cluster does not answer, or has no devices.
    """

    def __init__(self, address: str) -> None:
        _connect(address)
        self._places = dict(_list_places())
        if not self._places:
            raise DeviceError(f"the Ray cluster at {address!r} has no GPU and no CPU to train on")
        self.names = tuple(self._places)
        # Computations between trainings run on this machine, whatever the cluster has.
        self.here = list_visible_devices()[0]
        # All places are of one kind, so the first stands for all.
        self.kind = torch.device(self._places[self.names[0]].device).type
        # All workers share one setup, so the smallest machine decides.
        self.threads = min(max(1, place.cpus) for place in self._places.values())

    def launch(self, setup: TrainingSetup, device: str, slots: int | None) -> RayWorker:
        """Start a worker.

        Args:
            setup: The setup of the study's workers.
            device: One of `names`.
            slots: Largest number of trials to train together; None to measure how many are best.
        """
        return RayWorker(setup, device, slots, self._places[device])

    def choose_precision(self, width: int) -> Precision:
        """Choose the faster precision on the first device; arguments as for `choose_precision`."""
        place = self._places[self.names[0]]
        # Timed where trials will train, which may be faster in another precision than this machine.
        probe = ray.remote(choose_precision).options(**place.options)
        answer: ObjectRef[Precision] = probe.remote(torch.device(place.device), width)
        return wait_for_first_answer(answer, self.names[0])


def _connect(address: str) -> None:
    # Ray refuses a second `init` in one process.
    if ray.is_initialized():
        return
    try:
        _require_listener(address)
        # Actors print on their own machines; failures come back as exceptions.
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as problem:
        reason = str(problem).splitlines()[0]
        raise DeviceError(
            f"no Ray cluster answers at {address!r} ({reason}); start one with: ray start --head"
        ) from None


def _require_listener(address: str) -> None:
    """Connect to an address once, to fail within seconds; Ray itself would retry for minutes.

    Raises:
        OSError: If nothing listens at the address.
    """
    if match := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address):
        socket.create_connection((match[1], int(match[2])), timeout=_CONNECTION_TIMEOUT).close()


def _list_places() -> Iterator[tuple[str, RayPlace]]:
    """List the places of the cluster by name, machines in the order of their addresses."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    nodes.sort(key=lambda node: (node["NodeManagerAddress"], node["NodeID"]))
    has_gpus = any(node["Resources"].get("GPU") for node in nodes)
    for node in nodes:
        gpus, cpus = (int(node["Resources"].get(kind, 0)) for kind in ("GPU", "CPU"))
        machine = f"{node['NodeManagerAddress']}/{node['NodeID'][:6]}"
        if not has_gpus and cpus:
            yield machine, RayPlace(node=node["NodeID"], gpus=0, cpus=cpus)
        for index in range(gpus):
            # One processor for each GPU, or none on a machine that offers Ray no processor.
            share = RayPlace(node=node["NodeID"], gpus=1, cpus=min(cpus, 1))
            yield f"{machine}/gpu{index}", share
