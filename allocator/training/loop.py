"""The training loop of a pack of trials on one frozen backbone, from boundary to boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle

from allocator.adapters.truncation import list_truncations, truncate_mode
from allocator.adapters.tucker import TuckerAdapter
from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.training.epoch import Epoch
from allocator.training.evaluation import Evaluation, evaluate_majority, evaluate_pack
from allocator.training.measures import TruncatedLoss
from allocator.training.messages import Boundary, Job, Orders
from allocator.training.pack import Pack, TrainingPack
from allocator.training.slot import Slot
from allocator.training.splits import Splits
from allocator.training.training_slot import TrainingSlot
from allocator.training.trial_run import TrialRun

OnBoundary = Callable[[Boundary], Orders | None]
"""Function of the reports of all trials; returns which stop and start, or None to end."""

OnCompleted = Callable[[Job, TrainingSlot], None]
"""Function of a trial that reached its last boundary, called before its slot is discarded."""

OnProgress = Callable[[float], None]
"""Function of the fraction of the way to the next boundary, called some 20 times on it."""

_DIVERGENCE_CHECK = 32  # steps between two checks of the losses, each a host-device sync
_TOLD = 20  # times that progress is told on the way to a boundary
EVALUATION_COST = 0.4  # cost of evaluating an example, relative to training on it


def train_trials(
    backbone: Backbone,
    splits: Splits,
    config: TrainingConfig,
    *,
    slots: int,
    on_boundary: OnBoundary,
    on_completed: OnCompleted,
    on_progress: OnProgress = lambda _: None,
) -> None:
    """Train trials as ordered, up to `slots` at once, until `on_boundary` returns None.

    All epochs have the same batches in the same order, and trials start only with an epoch.
    So every trial of a seed sees the same data in the same order, whenever it starts and whichever
    trials train beside it.

    Args:
        backbone: The frozen backbone.
        splits: The examples of all trials.
        config: The training configuration of all trials.
        slots: Largest number of trials that train together.
        on_boundary: Called for orders at every boundary, and at the start of an epoch while no
            trial trains.
        on_completed: Called with every trial that was completed, after its head was calibrated; its
            report is of the answers as trained.
        on_progress: Called while trials train.

    Raises:
        ValueError: If an epoch has fewer steps than boundaries.
        ModelError: If memory does not suffice for one trial.
    """
    epoch = Epoch(splits, config, backbone.device)
    pack = TrainingPack(backbone, width=slots)

    def start_run(job: Job) -> TrialRun:
        slot = TrainingSlot(
            job.allocation,
            job.spec,
            backbone,
            config,
            config.epochs * epoch.num_steps,
            seed=job.seed,
            is_measured=job.is_measured,
        )
        return TrialRun(job, slot, _evaluate_majority(splits, job.seed), config.num_boundaries)

    runs: list[TrialRun] = []
    # Endless: the loop ends when `on_boundary` returns None.
    for number in cycle(range(config.boundaries_per_epoch)):
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
            _train_to_boundary(pack, runs, epoch, number, splits, on_progress)
            for run in runs:
                if run.ending == "completed":
                    # Before the last report, which carries these losses.
                    _measure_truncation(pack, run.slot, splits)
                    run.calibrate()
                    on_completed(run.job, run.slot)


def _train_to_boundary(
    pack: TrainingPack,
    runs: Sequence[TrialRun],
    epoch: Epoch,
    number: int,
    splits: Splits,
    on_progress: OnProgress,
) -> None:
    pack.slots = [run.slot for run in runs]
    seeds = sorted({run.job.seed for run in runs})
    batches = epoch.make_portion(number, seeds)
    total = len(batches) + _count_evaluation_steps(splits, epoch, seeds[0])
    for step, batch in enumerate(batches, start=1):
        pack.step(batch, seeds)
        if step * _TOLD // total > (step - 1) * _TOLD // total:
            on_progress(step / total)
        if step % _DIVERGENCE_CHECK == 0 or step == len(batches):
            _drop_diverged(pack, runs)
    evaluations = _evaluate_slots(pack, splits)
    for run in runs:
        if run.ending is None:
            run.reach_boundary(evaluations[id(run.slot)])


def _count_evaluation_steps(splits: Splits, epoch: Epoch, seed: int) -> float:
    """Count the steps of training that take as long as an evaluation."""
    mine = splits.of_seed(seed)
    return EVALUATION_COST * epoch.num_steps * len(mine.scoring) / len(mine.train)


def _evaluate_slots(pack: TrainingPack, splits: Splits) -> dict[int, Evaluation]:
    """Evaluate every slot on the examples that its seed is scored on; keys are ids of slots.

    Slots that diverged have left the pack, so evaluations are matched to trials by slot.
    """
    slots = pack.slots
    evaluations: dict[int, Evaluation] = {}
    for seed in sorted({slot.seed for slot in slots}):
        # By the pack itself, so that it keeps its width if memory runs out.
        pack.slots = [slot for slot in slots if slot.seed == seed]
        results = evaluate_pack(pack, splits.of_seed(seed).scoring, splits.metric)
        evaluations |= {id(slot): r for slot, r in zip(pack.slots, results, strict=True)}
    pack.slots = slots
    return evaluations


def _evaluate_majority(splits: Splits, seed: int) -> Evaluation:
    mine = splits.of_seed(seed)
    return evaluate_majority(mine.train, mine.scoring, splits.metric, num_labels=splits.num_labels)


def _measure_truncation(pack: TrainingPack, slot: TrainingSlot, splits: Splits) -> None:
    """Evaluate a trained slot with one mode at a time cut to several ranks, if it is observed.

    Truncation also makes answers less confident, which by itself can lower the loss of a network
    that is overconfident. The calibrated loss shows only what truncation costs in the answers.
    """
    adapter = slot.adapter
    if slot.observer is None or not isinstance(adapter, TuckerAdapter):
        return
    cuts = list(list_truncations(adapter))
    # A separate pack, so that the pack in training keeps its slots and its width.
    slots = [Slot(truncate_mode(adapter, mode, rank), slot.head) for mode, rank in cuts]
    evaluations = evaluate_pack(
        Pack(pack.backbone, slots, width=pack.width),
        splits.of_seed(slot.seed).scoring,
        splits.metric,
    )
    slot.observer.truncation = tuple(
        TruncatedLoss(mode, rank, evaluation.calibrated_loss)
        for (mode, rank), evaluation in zip(cuts, evaluations, strict=True)
    )


def _drop_diverged(pack: TrainingPack, runs: Sequence[TrialRun]) -> None:
    diverged = pack.list_diverged()
    for run in runs:
        if run.slot in diverged:
            run.ending = "diverged"
    pack.slots = [slot for slot in pack.slots if slot not in diverged]
