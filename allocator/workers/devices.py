"""What devices this machine has, and how a process takes one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from allocator.errors import UnknownNameError


def visible_devices() -> list[str]:
    """List the devices that get a worker: every visible GPU, or the CPU."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]


def require_devices(names: Sequence[str]) -> None:
    """Refuse devices that are not there.

    Raises:
        DeviceError: Naming the device and those that there are.
    """
    there = {"cpu", *visible_devices()}
    for name in names:
        if name not in there:
            raise UnknownNameError("device", name, there)


def available_threads() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def claim_device(device: str, threads: int) -> torch.device:
    """Give a worker process its own device, and hide all others from it.

    Args:
        device: `cpu`, or `cuda:<index>` among the visible devices.
        threads: Threads to use on the CPU.
    """
    if device == "cpu":
        torch.set_num_threads(threads)
        return torch.device("cpu")
    # CUDA has not started yet in this process, so it will see this device as its only one.
    index = int(device.removeprefix("cuda:"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)
    return torch.device("cuda:0")
