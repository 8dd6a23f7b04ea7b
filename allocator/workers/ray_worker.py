"""A worker that is an actor of a Ray cluster, as its coordinator sees it."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from typing import TypeVar, cast

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from allocator.errors import DeviceError, ModelError
from allocator.files.whole_files import write_whole
from allocator.training.messages import Boundary, Orders, WorkerDied
from allocator.workers.ray_actor import RayActor
from allocator.workers.setup import TrainingSetup

Answer = TypeVar("Answer")

_PATIENCE = 60.0  # seconds for Ray to find a place for an actor
_HEARSAY = 5.0  # seconds between the end of a machine's processes and Ray's word that it left


@dataclass(frozen=True, kw_only=True, slots=True)
class RayPlace:
    """What one worker has of a machine.

    Attributes:
        node: Ray's id of the machine.
        gpus: GPUs reserved there.
        cpus: Processors reserved there.
    """

    node: str
    gpus: int
    cpus: int

    @property
    def device(self) -> str:
        """The device of who runs here: no other is visible there."""
        return "cuda:0" if self.gpus else "cpu"

    @property
    def options(self) -> dict[str, int | NodeAffinitySchedulingStrategy]:
        """What makes Ray run something here."""
        here = NodeAffinitySchedulingStrategy(node_id=self.node, soft=False)
        return {"num_gpus": self.gpus, "num_cpus": self.cpus, "scheduling_strategy": here}


def wait_for_first_answer(answer: ObjectRef[Answer], device: str) -> Answer:
    """Wait for the first answer from a place, which Ray gives when nobody else has reserved it.

    Raises:
        DeviceError: If none comes.
    """
    ready, _ = ray.wait([answer], timeout=_PATIENCE)
    if not ready:
        raise DeviceError(
            f"{device} has no place free after {_PATIENCE:.0f} s; "
            "`ray status` shows what is reserved"
        )
    return ray.get(answer)


class RayWorker:
    """A worker on a machine of a Ray cluster.

    Args:
        setup: What the worker must know.
        device: What it is called.
        slots: Trials to train together at most; None lets it measure.
        place: Where it runs.
    """

    def __init__(
        self, setup: TrainingSetup, device: str, slots: int | None, place: RayPlace
    ) -> None:
        self._device, self._place, self._is_placed = device, place, False
        actor = ray.remote(RayActor).options(**place.options)
        self._actor = actor.remote(setup, place.device, slots)

    def order(self, orders: Orders) -> None:
        """Answer a `Boundary`; a worker that is gone is noticed at the next."""
        self._actor.order.remote(orders)

    def receive(self) -> Boundary:
        """Wait for the next boundary, the first one when the worker is ready.

        The adapters of trials that were completed come with it, and are written.

        Raises:
            WorkerDied: If the actor or its machine is gone, or its training failed.
            ModelError: If the machine lacks the model.
            DeviceError: If others keep the device busy.
        """
        try:
            self._wait_for_place()
            received = ray.get(self._actor.receive.remote())
        except RayTaskError as failure:
            if isinstance(failure.cause, ModelError):
                raise failure.cause from None
            print(failure, file=sys.stderr)
            raise WorkerDied(self._device, 1) from None
        except (RayActorError, OutOfMemoryError):
            raise WorkerDied(self._device, self._exit_code()) from None
        for path, content in received.files.items():
            write_whole(path, content)
        return received.boundary

    def close(self) -> None:
        """End the actor, whatever it is doing."""
        ray.kill(cast("ActorHandle[RayActor]", self._actor))

    def _wait_for_place(self) -> None:
        if not self._is_placed:
            wait_for_first_answer(self._actor.is_there.remote(), self._device)
            self._is_placed = True

    def _exit_code(self) -> int | None:
        """Tell a machine that left, of which Ray may hear later, from a process that ended."""
        deadline = time.monotonic() + _HEARSAY
        while time.monotonic() < deadline:
            if not any(n["Alive"] for n in ray.nodes() if n["NodeID"] == self._place.node):
                return None
            time.sleep(0.2)
        return -signal.SIGKILL  # Ray does not say how it ended; most often memory ran out
