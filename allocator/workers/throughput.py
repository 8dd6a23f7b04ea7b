"""Measure how many trials a device should train together."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.inputs.batches import Batch, Split, order_epoch
from allocator.training.pack import TrainingPack
from allocator.training.training_slot import TrainingSlot

_PACK_SIZES = 5  # packs of 1, 2, 4, 8 and 16 trials
_BATCHES, _ROUNDS = 5, 3
_TIME_LIMIT = 60.0  # seconds after which no further pack is measured
_TIME_SHARE = 0.1  # the same, of the time that all trainings take
_WORTHWHILE_GAIN = 1.1  # factor in examples per second that justifies a larger pack


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """The training speed of packs of one size.

    Attributes:
        slots: Number of trials that train together.
        examples: Examples per second, over all slots; 0 if they do not fit into memory.
        memory_gib: Peak memory up to and including this measurement, in GiB: on a GPU that of its
            tensors, on a CPU that of the process.
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
    """Measure how fast a pack of one allocation trains, on a few batches.

    Args:
        slots: Number of trials in the pack.
        allocation: Allocation of all of them.
        spec: Shape, scaling and initialisation of their adapters.
        backbone: The frozen backbone.
        split: The examples to train on.
        config: The training configuration.
    """
    lengths = split.lengths
    order = order_epoch(lengths, config.batch_size, seed=config.seed)
    order.sort(key=lambda indices: -lengths[indices].max())
    # Batches of all lengths, the longest first, so that the step that is not timed claims all
    # memory.
    picked = np.linspace(0, len(order) - 1, min(_BATCHES, len(order))).round().astype(int)
    batches = [split.make_batch(order[i], backbone.device) for i in picked]
    pack = TrainingPack(
        backbone,
        # Any total will do: only the schedule depends on it.
        [
            TrainingSlot(allocation, spec, backbone, config, total_steps=1000, seed=config.seed)
            for _ in range(slots)
        ],
        width=slots,
    )
    pack.step(batches[0])  # not timed: memory is claimed and kernels are chosen
    rate = slots * sum(len(batch.labels) for batch in batches) / _time_steps(pack, batches)
    return Throughput(
        slots=slots,
        examples=rate if pack.width == slots else 0.0,  # a pack that ran out of memory is narrower
        memory_gib=measure_peak_memory_gib(backbone.device),
    )


def measure_packs(
    allocation: Allocation,
    spec: AdapterSpec,
    backbone: Backbone,
    split: Split,
    config: TrainingConfig,
    *,
    most_slots: int | None = None,
    examples: float = math.inf,
) -> list[Throughput]:
    """Measure packs of 1, 2, 4, 8 and 16 trials, for at most a minute, or a tenth of all trainings.

    Larger packs are left out once two doublings together gain less than 10%, or memory ran out.
    So are packs that would not be filled: what counts is how fast a round trains.

    Args:
        allocation: As for `measure_throughput`.
        spec: As for `measure_throughput`.
        backbone: As for `measure_throughput`; if it can only run single trials, only packs of one
            are measured.
        split: As for `measure_throughput`.
        config: As for `measure_throughput`.
        most_slots: Trials that can train together; None if there is no such number.
        examples: Examples that all trainings will read.

    Returns:
        The best of up to three measurements of every size, by size.
    """

    def measure(slots: int) -> Throughput:
        return measure_throughput(slots, allocation, spec, backbone, split, config)

    start, limit = time.perf_counter(), _TIME_LIMIT
    measured: list[Throughput] = []
    sizes = [2**power for power in range(_PACK_SIZES if backbone.packs else 1)]
    if most_slots is not None:
        # The whole round as one pack in place of the next larger power of two.
        sizes = [size for size in sizes if size < most_slots] + [min(most_slots, sizes[-1])]
    for size in sizes:
        measured.append(measure(size))
        # Memory ran out: larger packs cannot fit, and another round would only run out again.
        if not measured[-1].examples:
            return measured
        limit = min(limit, _TIME_SHARE * examples / measured[-1].examples)
        if len(measured) > 2 and measured[-1].examples < _WORTHWHILE_GAIN * measured[-3].examples:
            break
        if time.perf_counter() - start > limit:
            break
    # Other work on the machine can only slow measurements, so the best of several counts.
    for _ in range(_ROUNDS - 1):
        if time.perf_counter() - start > limit:
            break
        again = [measure(throughput.slots) for throughput in measured]
        # Peak memory is that of the first round: later ones have seen larger packs.
        measured = [
            replace(first, examples=max(first.examples, second.examples))
            for first, second in zip(measured, again, strict=True)
        ]
    return measured


def choose_slots(measured: Sequence[Throughput]) -> Throughput:
    """Choose the smallest pack that is nearly as fast as the fastest.

    The more trials start together, the less a search has learnt when it proposes them. So a larger
    pack must be at least 10% faster.
    """
    fastest = max(throughput.examples for throughput in measured)
    # By size, so the first that is fast enough is the smallest.
    return next(t for t in measured if _WORTHWHILE_GAIN * t.examples >= fastest)


def measure_peak_memory_gib(device: torch.device) -> float:
    """Return the peak memory in GiB: of a GPU's tensors, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _time_steps(pack: TrainingPack, batches: list[Batch]) -> float:
    """Time one step on each batch, in seconds."""
    pack.list_diverged()  # host-device sync, as the first step may still be running
    start = time.perf_counter()
    for batch in batches:
        pack.step(batch)
    pack.list_diverged()  # host-device sync
    return time.perf_counter() - start
