"""The training loop of a pack of trials on one frozen backbone, from boundary to boundary."""

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
"""Function of the reports of all trials; returns which stop and start, or None to end."""

OnCompleted = Callable[[Job, TrainingSlot], None]
"""Function of a trial that reached its last boundary, called before its slot is discarded."""

_DIVERGENCE_CHECK = 32  # steps between two checks of the losses, each a host-device sync


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The data of all trials.

    Attributes:
        train: Examples that trials train on.
        scoring: Examples that trials are scored on.
        metric: Name of the task's metric.
    """

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
    """Train trials as ordered, up to `slots` at once, until `on_boundary` returns None.

    All epochs have the same batches in the same order, and trials start only with an epoch.
    So every trial sees the same data in the same order, whenever it starts and whichever trials
    train beside it.

    Args:
        backbone: The frozen backbone.
        splits: The data of all trials.
        config: The training configuration of all trials.
        slots: Largest number of trials that train together.
        on_boundary: Called for orders at every boundary, and at the start of an epoch while no
            trial trains.
        on_completed: Called with every trial that was completed.

    Raises:
        ValueError: If an epoch has fewer steps than boundaries.
        ModelError: If memory does not suffice for one trial.
    """
    majority = evaluate_majority(splits.train, splits.scoring, splits.metric)
    # Made once: all trials and all epochs share these batches on the device.
    portions = split_epoch(splits.train, config, backbone)
    total_steps = config.epochs * sum(map(len, portions))
    pack = TrainingPack(backbone, width=slots)

    def start_run(job: Job) -> TrialRun:
        slot = TrainingSlot(
            job.allocation, job.spec, backbone, config, total_steps, is_measured=job.is_measured
        )
        return TrialRun(job, slot, majority, config.num_boundaries)

    runs: list[TrialRun] = []
    # Endless: the loop ends when `on_boundary` returns None.
    for number, batches in cycle(enumerate(portions)):
        # A trial that ended sends its last report at this boundary, and then leaves the pack.
        reports = tuple(run.report() for run in runs)
        runs = [run for run in runs if run.ending is None]
        may_start = number == 0
        # Without trials nothing is reported or trained until the next epoch starts.
        if reports or may_start:
            orders = on_boundary(Boundary(reports=reports, may_start=may_start, slots=pack.width))
            if orders is None:
                return
            runs = [run for run in runs if run.job.trial not in orders.stop]
            runs += [start_run(job) for job in orders.jobs]
        if runs:
            _train_to_boundary(pack, runs, batches, splits)
            for run in runs:
                if run.ending == "completed":
                    # Before the last report, which carries these losses.
                    _measure_truncation(pack, run.slot, splits)
                    on_completed(run.job, run.slot)


def split_epoch(split: Split, config: TrainingConfig, backbone: Backbone) -> list[list[Batch]]:
    """Split one epoch's batches into portions, one for each boundary.

    Args:
        split: The examples to train on.
        config: The training configuration.
        backbone: The backbone, whose device the batches are put on.

    Returns:
        The batches before each boundary of an epoch; the last boundary is the end of the epoch.

    Raises:
        ValueError: If an epoch has fewer steps than boundaries.
    """
    order = order_epoch(split, config.batch_size, seed=config.seed)
    per_epoch = config.boundaries_per_epoch
    if len(order) < per_epoch:
        raise ValueError(f"an epoch of {len(order)} steps cannot have {per_epoch} boundaries")
    batches = [split.make_batch(indices, backbone.device) for indices in order]
    # Rounding spreads the remainder: portions differ by at most one batch.
    marks = [round(len(batches) * boundary / per_epoch) for boundary in range(per_epoch + 1)]
    return [batches[start:end] for start, end in pairwise(marks)]


def _train_to_boundary(
    pack: TrainingPack, runs: Sequence[TrialRun], batches: Sequence[Batch], splits: Splits
) -> None:
    pack.slots = [run.slot for run in runs]
    for step, batch in enumerate(batches, start=1):
        pack.step(batch)
        if step % _DIVERGENCE_CHECK == 0 or step == len(batches):
            _drop_diverged(pack, runs)
    evaluations = evaluate_pack(pack, splits.scoring, splits.metric)
    # Slots that diverged have left the pack, so evaluations are matched to trials by slot.
    by_slot = {id(slot): result for slot, result in zip(pack.slots, evaluations, strict=True)}
    for run in runs:
        if run.ending is None:
            run.reach_boundary(by_slot[id(run.slot)])


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
