"""Trains packs of trials on one frozen backbone, from boundary to boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise

from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.inputs.batches import Batch, Split, order_epoch
from allocator.training.evaluation import evaluate_majority, evaluate_pack
from allocator.training.messages import Boundary, Job, Orders
from allocator.training.pack import TrainingPack
from allocator.training.training_slot import TrainingSlot
from allocator.training.trial_run import TrialRun
from allocator.training.truncated_losses import compute_truncated_losses

OnBoundary = Callable[[Boundary], Orders | None]
"""Told where all trials stand; says which stop and which start, or None to end."""

OnCompleted = Callable[[Job, TrainingSlot], None]
"""Called with a trial that has reached its last boundary, while its parts still exist."""

_DIVERGENCE_CHECK = 32  # steps between two looks at the losses, each a host-device sync


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The data of all trials: what they train on, what they are scored on, by which metric."""

    train: Split
    scoring: Split
    metric: str


def train_trials(
    backbone: Backbone,
    splits: Splits,
    config: TrainingConfig,
    *,
    slots: int,
    on_boundary: OnBoundary,
    on_completed: OnCompleted,
) -> None:
    """Train the trials that are ordered, up to `slots` at once, until there are no more orders.

    All epochs have the same batches in the same order, and trials start where an epoch does: so
    every trial sees the same data in the same order, whenever it came and whoever is beside it.

    Args:
        backbone: The frozen backbone.
        splits: What to train on and what to be scored on.
        config: The recipe.
        slots: Trials that train together at most.
        on_boundary: Asked for orders at every boundary, and while nothing trains.
        on_completed: Given every trial that was completed.
    """
    majority = evaluate_majority(splits.train, splits.scoring, splits.metric)
    parts = split_epoch(splits.train, config, backbone)
    boundaries = config.num_boundaries
    total_steps = config.epochs * sum(map(len, parts))
    pack = TrainingPack(backbone, width=slots)
    runs: list[TrialRun] = []
    for number, part in cycle(enumerate(parts)):
        # Trials that end are reported at the boundary, and are gone behind it.
        reports = tuple(run.report() for run in runs)
        runs = [run for run in runs if run.ending is None]
        may_start = number == 0
        if reports or may_start:
            orders = on_boundary(Boundary(reports=reports, may_start=may_start, slots=pack.width))
            if orders is None:
                return
            runs = [run for run in runs if run.job.trial not in orders.stop]
            for job in orders.jobs:
                slot = TrainingSlot(
                    job.allocation,
                    job.spec,
                    backbone,
                    config,
                    total_steps,
                    is_measured=job.is_measured,
                )
                runs.append(TrialRun(job, slot, majority, boundaries))
        if runs:
            _train_to_boundary(pack, runs, part, splits)
            for run in runs:
                if run.ending == "completed":
                    _measure_truncation(pack, run.slot, splits)
                    on_completed(run.job, run.slot)


def split_epoch(split: Split, config: TrainingConfig, backbone: Backbone) -> list[list[Batch]]:
    """Put the batches of an epoch onto the device, divided by boundaries, the last its end.

    Raises:
        ValueError: If an epoch has fewer steps than boundaries.
    """
    order = order_epoch(split, config.batch_size, seed=config.seed)
    per_epoch = config.boundaries_per_epoch
    if len(order) < per_epoch:
        raise ValueError(f"an epoch of {len(order)} steps cannot have {per_epoch} boundaries")
    batches = [split.batch(indices, backbone.device) for indices in order]
    marks = [round(len(batches) * part / per_epoch) for part in range(per_epoch + 1)]
    return [batches[start:end] for start, end in pairwise(marks)]


def _train_to_boundary(
    pack: TrainingPack, runs: Sequence[TrialRun], batches: Sequence[Batch], splits: Splits
) -> None:
    pack.slots = [run.slot for run in runs]
    for step, batch in enumerate(batches, start=1):
        pack.step(batch)
        if step % _DIVERGENCE_CHECK == 0 or step == len(batches):
            _drop_diverged(pack, runs)
    found = evaluate_pack(pack, splits.scoring, splits.metric)
    scored = {id(slot): evaluation for slot, evaluation in zip(pack.slots, found, strict=True)}
    for run in runs:
        if run.ending is None:
            run.reach(scored[id(run.slot)])


def _measure_truncation(pack: TrainingPack, slot: TrainingSlot, splits: Splits) -> None:
    if slot.observer is not None:
        losses = compute_truncated_losses(pack, slot, splits.scoring, splits.metric)
        slot.observer.truncation = tuple(losses)


def _drop_diverged(pack: TrainingPack, runs: Sequence[TrialRun]) -> None:
    diverged = pack.list_diverged()
    for run in runs:
        if run.slot in diverged:
            run.ending = "diverged"
    pack.slots = [slot for slot in pack.slots if slot not in diverged]
