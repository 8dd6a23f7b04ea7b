"""Devices of this machine, each with a worker in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from allocator.config import Precision
from allocator.workers.devices import available_threads, require_devices, visible_devices
from allocator.workers.precision import choose_precision
from allocator.workers.process_worker import ProcessWorker
from allocator.workers.setup import TrainingSetup


class LocalDevices:
    """Devices of this machine.

    Args:
        names: Such as `cuda:0` or `cpu`; None for every visible GPU, or the CPU.

    Raises:
        DeviceError: If one of them is not there.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        require_devices(names or ())
        self.names = tuple(names or visible_devices())
        self.here = self.names[0]
        self.kind = torch.device(self.here).type
        self.threads = max(1, available_threads() // len(self.names))

    def launch(self, setup: TrainingSetup, device: str, slots: int | None) -> ProcessWorker:
        """Start a worker; arguments as for `ProcessWorker`."""
        return ProcessWorker(setup, device, slots)

    def choose_precision(self, width: int) -> Precision:
        """Choose by what is faster on the first of them; arguments as for `choose_precision`."""
        return choose_precision(torch.device(self.here), width)
