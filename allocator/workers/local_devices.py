"""Devices of this machine; each has a worker in a separate process."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from allocator.config import Precision
from allocator.workers.devices import count_available_threads, list_visible_devices, require_devices
from allocator.workers.precision import choose_precision
from allocator.workers.process_worker import ProcessWorker
from allocator.workers.setup import TrainingSetup


class LocalDevices:
    """Devices of this machine.

    Args:
        names: Names such as `cuda:0` or `cpu`; None for every visible GPU, or else the CPU.

    Raises:
        DeviceError: If this machine does not have one of them.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        require_devices(names or ())
        self.names = tuple(names or list_visible_devices())
        self.here = self.names[0]
        self.kind = torch.device(self.here).type
        # The workers of all devices share the processors of this machine.
        self.threads = max(1, count_available_threads() // len(self.names))

    def launch(self, setup: TrainingSetup, device: str, slots: int | None) -> ProcessWorker:
        """Start a worker; arguments as for `ProcessWorker`."""
        return ProcessWorker(setup, device, slots)

    def choose_precision(self, width: int) -> Precision:
        """Choose the faster precision on the first device; arguments as for `choose_precision`."""
        return choose_precision(torch.device(self.here), width)
