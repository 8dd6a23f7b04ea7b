"""The coordinator's side of a worker on a Ray cluster."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TypeVar, cast

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from allocator.errors import AllocatorError, DeviceError
from allocator.files.whole_files import write_whole
from allocator.training.messages import (
    Boundary,
    Failure,
    OnStage,
    Orders,
    Stage,
    WorkerDied,
    ignore_stage,
)
from allocator.workers.ray_actor import BoundaryWithFiles, RayActor
from allocator.workers.setup import TrainingSetup

Answer = TypeVar("Answer")

_PLACEMENT_TIMEOUT = 60.0  # seconds for Ray to find a place for an actor
_NODE_LOSS_DELAY = 5.0  # seconds that Ray may need to mark a machine dead after its processes ended


@dataclass(frozen=True, kw_only=True, slots=True)
class RayPlace:
    """The share of a machine that one worker reserves.

    Attributes:
        node: Ray's id of the machine.
        gpus: Number of GPUs reserved.
        cpus: Number of processors reserved.
    """

    node: str
    gpus: int
    cpus: int

    @property
    def device(self) -> str:
        """The device as a process in this place sees it; Ray hides all other GPUs."""
        return "cuda:0" if self.gpus else "cpu"

    @property
    def options(self) -> dict[str, int | NodeAffinitySchedulingStrategy]:
        """Options with which Ray runs a task or an actor in this place."""
        # Not soft: elsewhere, Ray would train on a device other than the one that was named.
        here = NodeAffinitySchedulingStrategy(node_id=self.node, soft=False)
        return {"num_gpus": self.gpus, "num_cpus": self.cpus, "scheduling_strategy": here}


def wait_for_first_answer(answer: ObjectRef[Answer], device: str) -> Answer:
    """Wait for the first answer from a place, which comes once Ray has reserved the place.

    Args:
        answer: Ray's reference of the answer.
        device: Name of the device, for the error.

    Raises:
        DeviceError: If there is no answer within a minute, because others have reserved the place.
    """
    ready, _ = ray.wait([answer], timeout=_PLACEMENT_TIMEOUT)
    if not ready:
        raise DeviceError(
            f"{device} had no free place within {_PLACEMENT_TIMEOUT:.0f} s; "
            "`ray status` shows what is reserved"
        )
    return ray.get(answer)


class RayWorker:
    """A worker on a machine of a Ray cluster.

    Args:
        setup: The setup of the study's workers.
        device: Name of the device among those of the cluster.
        slots: Largest number of trials to train together; None to measure how many are best.
        place: The place that it reserves.
    """

    def __init__(
        self, setup: TrainingSetup, device: str, slots: int | None, place: RayPlace
    ) -> None:
        self._device, self._place, self._is_placed = device, place, False
        actor = ray.remote(RayActor).options(**place.options)
        self._actor = actor.remote(setup, place.device, slots)

    def send_orders(self, orders: Orders) -> None:
        """Send orders in answer to a `Boundary`; a dead worker is noticed at the next boundary."""
        self._actor.send_orders.remote(orders)

    def receive_boundary(self, on_stage: OnStage = ignore_stage) -> Boundary:
        """Wait for the next boundary; the first one comes when the worker is ready.

        The adapters of completed trials come with the boundary and are written here.

        Args:
            on_stage: Told what the worker is doing until then.

        Raises:
            WorkerDied: If the actor or its machine is gone, or its training failed.
            AllocatorError: If it has ended with this mistake of the user; the machine may not have
                the model.
            DeviceError: If others have reserved the device.
        """
        try:
            self._wait_for_place()
            received = self._receive(on_stage)
        except (RayActorError, OutOfMemoryError):
            raise WorkerDied(self._device, self._exit_code()) from None
        if isinstance(received, AllocatorError):
            raise received
        if isinstance(received, Failure):
            raise WorkerDied(self._device, 1, received)
        for path, content in received.files.items():
            write_whole(path, content)
        return received.boundary

    def _receive(self, on_stage: OnStage) -> BoundaryWithFiles | Failure | AllocatorError:
        received = ray.get(self._actor.receive.remote())
        while isinstance(received, Stage):
            on_stage(received)
            received = ray.get(self._actor.receive.remote())
        return received

    def close(self) -> None:
        """End the actor, even in the middle of a training."""
        # The annotations of `remote` and of `kill` differ in the type of an actor's handle.
        ray.kill(cast("ActorHandle[RayActor]", self._actor))

    def _wait_for_place(self) -> None:
        # Once is enough: Ray keeps the place until the actor ends.
        if not self._is_placed:
            wait_for_first_answer(self._actor.is_there.remote(), self._device)
            self._is_placed = True

    def _exit_code(self) -> int | None:
        """Return the exit code of the ended process; None if its machine has left the cluster.

        Ray may notice that a machine has left only some seconds after its processes ended.
        """
        deadline = time.monotonic() + _NODE_LOSS_DELAY
        while time.monotonic() < deadline:
            if not any(n["Alive"] for n in ray.nodes() if n["NodeID"] == self._place.node):
                return None
            time.sleep(0.2)
        return -signal.SIGKILL  # Ray does not report the exit code; most often memory ran out
