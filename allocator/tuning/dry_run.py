"""What a search would do and cost, measured on a few steps, without starting a study."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

import torch
from rich.console import Console

from allocator.training.backbone import load_backbone
from allocator.training.batches import epoch_order
from allocator.training.evaluation import evaluate_slot
from allocator.training.slot import Slot
from allocator.training.worker import load_splits
from allocator.tuning.prepare import PreparedSearch
from allocator.tuning.study import baseline_params

_WARM_UP_STEPS, _TIMED_STEPS = 5, 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The cost of a search.

    Attributes:
        trial_seconds: Of one trial that is not pruned.
        memory_gib: Peak memory of one worker, on its device.
    """

    trial_seconds: float
    memory_gib: float


def print_dry_run(console: Console, prepared: PreparedSearch, trials: int) -> None:
    """Print the space, what fits the budget, and the estimated time and memory."""
    space = prepared.space
    for name, distribution in space.distributions.items():
        low, high = getattr(distribution, "low", None), getattr(distribution, "high", None)
        scale = ", logarithmic" if getattr(distribution, "log", False) else ""
        console.print(f"  {name}: {low:g} to {high:g}{scale}", highlight=False)
    for name, value in space.fixed.items():
        console.print(f"  {name}: {value:g}, fixed", highlight=False)
    feasible = space.feasible
    for title, ranks in (
        ("smallest", feasible.smallest()),
        ("largest", feasible.largest()),
        ("uniform baseline", feasible.uniform()),
    ):
        text = ", ".join(f"{name} {rank}" for name, rank in ranks.items())
        count = space.shape.num_parameters(ranks)
        console.print(f"{title}: {text}; {count:,} parameters", highlight=False, soft_wrap=True)
    estimate = estimate_cost(prepared)
    minutes = trials * estimate.trial_seconds / len(prepared.devices) / 60
    console.print(
        f"{trials} trials of {prepared.study.training.epochs} epochs: "
        f"at most about {minutes:.0f} min, less what pruning saves; "
        f"{estimate.memory_gib:.1f} GiB a worker",
        highlight=False,
    )


def estimate_cost(prepared: PreparedSearch) -> Estimate:
    """Train the baseline for a few steps and extrapolate."""
    worker, device = prepared.worker, torch.device(prepared.devices[0])
    if device.type == "cpu":
        torch.set_num_threads(worker.threads)
    backbone = load_backbone(
        worker.model,
        worker.spec.shape.backbone.targets,
        num_labels=worker.task.num_labels,
        precision=worker.precision,
        device=device,
    )
    splits, config = load_splits(worker), worker.training
    allocation = prepared.space.allocation(baseline_params(prepared.space))
    slot = Slot(allocation, worker.spec, backbone, config, 1000)
    order = epoch_order(splits.train, config.batch_size, seed=config.seed, epoch=0)
    steps = [order[i % len(order)] for i in range(_WARM_UP_STEPS + _TIMED_STEPS)]
    for indices in steps[:_WARM_UP_STEPS]:
        slot.step(splits.train.batch(indices, device))
    slot.mean_loss()  # waits for the device
    start = time.perf_counter()
    for indices in steps[_WARM_UP_STEPS:]:
        slot.step(splits.train.batch(indices, device))
    slot.mean_loss()
    step_seconds = (time.perf_counter() - start) / _TIMED_STEPS
    start = time.perf_counter()
    evaluate_slot(slot, splits.scoring, splits.metric)
    evaluation_seconds = time.perf_counter() - start
    epoch = len(order) * step_seconds + config.boundaries_per_epoch * evaluation_seconds
    return Estimate(trial_seconds=config.epochs * epoch, memory_gib=_peak_memory_gib(device))


def _peak_memory_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
