"""How many trials a device trains together best, measured in a few seconds."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from allocator.allocation import Allocation
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.inputs.batches import Batch, Split, order_epoch
from allocator.training.pack import TrainingPack
from allocator.training.training_slot import TrainingSlot

_SIZES = 5  # packs of 1, 2, 4, 8 and 16
_BATCHES, _ROUNDS = 5, 3
_PATIENCE = 60.0  # seconds after which no more packs are measured
_WORTHWHILE = 1.1  # a larger pack must train this many times as many examples a second


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """What packs of one size train.

    Attributes:
        slots: Trials that train together.
        examples: Examples a second, over all slots; 0 where they do not fit into memory.
        memory_gib: Peak memory so far: on a GPU of its tensors, on a CPU of the process.
    """

    slots: int
    examples: float
    memory_gib: float


def measure_throughput(
    slots: int,
    allocation: Allocation,
    spec: AdapterSpec,
    backbone: Backbone,
    split: Split,
    config: TrainingConfig,
) -> Throughput:
    """Train a pack of one allocation on a few batches of all lengths, the longest first."""
    order = order_epoch(split, config.batch_size, seed=config.seed)
    lengths = split.lengths
    order.sort(key=lambda indices: -lengths[indices].max())
    picked = np.linspace(0, len(order) - 1, min(_BATCHES, len(order))).round().astype(int)
    batches = [split.make_batch(order[i], backbone.device) for i in picked]
    pack = TrainingPack(
        backbone,
        [TrainingSlot(allocation, spec, backbone, config, total_steps=1000) for _ in range(slots)],
        width=slots,
    )
    pack.step(batches[0])  # not timed: memory is claimed, kernels are chosen
    rate = slots * sum(len(batch.labels) for batch in batches) / _seconds(pack, batches)
    return Throughput(
        slots=slots,
        examples=rate if pack.width == slots else 0.0,
        memory_gib=peak_memory_gib(backbone.device),
    )


def measure_packs(
    allocation: Allocation,
    spec: AdapterSpec,
    backbone: Backbone,
    split: Split,
    config: TrainingConfig,
) -> list[Throughput]:
    """Measure packs of 1, 2, 4, ... trials, until two doublings together gain nothing.

    A model that takes minutes for all sizes and rounds is measured for a minute.

    Returns:
        The best of some measurements of every size.
    """

    def measure(slots: int) -> Throughput:
        return measure_throughput(slots, allocation, spec, backbone, split, config)

    start = time.perf_counter()
    found: list[Throughput] = []
    sizes = _SIZES if backbone.packs else 1
    while len(found) < sizes:
        found.append(measure(2 ** len(found)))
        if not found[-1].examples:
            return found
        if len(found) > 2 and found[-1].examples < _WORTHWHILE * found[-3].examples:
            break
        if time.perf_counter() - start > _PATIENCE:
            break
    # Other work on the machine slows some measurements and speeds up none.
    for _ in range(_ROUNDS - 1):
        if time.perf_counter() - start > _PATIENCE:
            break
        again = [measure(throughput.slots) for throughput in found]
        # Peak memory is that of the first round: later ones have seen larger packs.
        found = [
            replace(first, examples=max(first.examples, second.examples))
            for first, second in zip(found, again, strict=True)
        ]
    return found


def choose_slots(found: Sequence[Throughput]) -> Throughput:
    """Choose the smallest pack that is nearly as fast as the fastest.

    A search learns more from few trials at a time, so a larger pack must be worth it.
    """
    fastest = max(throughput.examples for throughput in found)
    return next(t for t in found if _WORTHWHILE * t.examples >= fastest)


def peak_memory_gib(device: torch.device) -> float:
    """Read the peak memory of a GPU's tensors, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _seconds(pack: TrainingPack, batches: list[Batch]) -> float:
    pack.list_diverged()  # waits for the device
    start = time.perf_counter()
    for batch in batches:
        pack.step(batch)
    pack.list_diverged()
    return time.perf_counter() - start
