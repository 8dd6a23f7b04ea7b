"""List the devices of this machine, and claim one for a process."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from allocator.errors import UnknownNameError


def list_visible_devices() -> list[str]:
    """List the devices that get a worker by default: every visible GPU, or else the CPU."""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]


def require_devices(names: Sequence[str]) -> None:
    """Refuse devices that this machine does not have.

    Raises:
        UnknownNameError: The message names the device and those that the machine has.
    """
    present = {"cpu", *list_visible_devices()}
    for name in names:
        if name not in present:
            raise UnknownNameError("device", name, present)


def count_available_threads() -> int:
    """Count the processors that this process may use."""
    # A container or a scheduler may allow fewer than the machine has; macOS does not report it.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def claim_device(device: str, threads: int) -> torch.device:
    """Claim a device for this process and hide all other GPUs from it.

    Args:
        device: `cpu`, or `cuda:<index>` among the visible devices.
        threads: Number of threads to use on the CPU.

    Returns:
        The device as this process sees it.
    """
    if device == "cpu":
        # By default torch takes all processors, and workers side by side would compete for them.
        torch.set_num_threads(threads)
        return torch.device("cpu")
    # CUDA has not started in this process yet, so it will see only this device.
    index = int(device.removeprefix("cuda:"))
    # If the user has hidden some GPUs, `index` counts among those that are left.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)
    # The only visible device is number 0, whatever its number on the machine.
    return torch.device("cuda:0")
