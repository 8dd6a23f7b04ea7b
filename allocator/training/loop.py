"""Trains one trial on a frozen backbone, from a fresh adapter to its last boundary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from allocator.adapters import AdapterSpec
from allocator.allocation import Allocation
from allocator.config import TrainingConfig
from allocator.training.backbone import Backbone
from allocator.training.batches import Batch, TokenizedSplit, epoch_order
from allocator.training.evaluation import Evaluation, evaluate_majority, evaluate_slot
from allocator.training.slot import Slot

Verdict = Literal["continue", "stop"]
OnBoundary = Callable[[int, int, float, float], Verdict]
"""Called with trial, step (boundaries so far), score and loss on the scoring split."""

Ending = Literal["completed", "stopped", "diverged", "collapsed"]

_DIVERGENCE_CHECK = 32  # steps between two looks at the loss, each a host-device sync


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The data of all trials: what they train on, what they are scored on, by which metric."""

    train: TokenizedSplit
    scoring: TokenizedSplit
    metric: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a trial ended.

    Attributes:
        ending: `completed`, `stopped` by a verdict, `diverged` or `collapsed`; the last two are
            scored as the majority-class predictor.
        score: At the last boundary.
        loss: At the last boundary, on the scoring split.
        parts: The metric's components at the last boundary.
        best_score: Of all boundaries; for information, never for selection.
        step: Boundaries reached.
        train_loss: Mean loss over all steps of the training.
        num_parameters: Trainable parameters of the adapter as built.
        head_parameters: Trainable parameters of the head.
        seconds: Wall time.
    """

    ending: Ending
    score: float
    loss: float
    parts: Mapping[str, float]
    best_score: float
    step: int
    train_loss: float
    num_parameters: int
    head_parameters: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedTrial:
    """A trial's outcome and its trained parts."""

    outcome: Outcome
    slot: Slot


def train(
    trial: int,
    allocation: Allocation,
    spec: AdapterSpec,
    backbone: Backbone,
    splits: Splits,
    config: TrainingConfig,
    on_boundary: OnBoundary,
) -> TrainedTrial:
    """Train one allocation until its last boundary, a verdict to stop, or its collapse.

    Args:
        trial: The trial's number, handed to `on_boundary`.
        allocation: What the trial tries.
        spec: Shape, scaling and initialisation of the adapter.
        backbone: The frozen backbone.
        splits: What to train on and what to be scored on.
        config: The recipe.
        on_boundary: Told the score at every boundary; decides whether to go on.
    """
    start = time.perf_counter()
    majority = evaluate_majority(splits.train, splits.scoring, splits.metric)
    marks = boundary_steps(len(splits.train), config)
    slot = Slot(allocation, spec, backbone, config, total_steps=marks[-1])
    history: list[Evaluation] = []
    ending: Ending = "completed"
    for step, batch in enumerate(_batches(splits.train, config, backbone), start=1):
        slot.step(batch)
        if (step in marks or step % _DIVERGENCE_CHECK == 0) and slot.has_diverged():
            ending = "diverged"
            break
        if step in marks:
            now = evaluate_slot(slot, splits.scoring, splits.metric)
            history.append(now)
            if _has_collapsed(now, majority, len(history), len(marks)):
                ending = "collapsed"
                break
            verdict = on_boundary(trial, len(history), now.score.value, now.loss)
            if verdict == "stop" and step < marks[-1]:
                ending = "stopped"
                break
    last = majority if ending in ("diverged", "collapsed") else history[-1]
    return TrainedTrial(
        outcome=Outcome(
            ending=ending,
            score=last.score.value,
            loss=last.loss,
            parts=last.score.parts,
            best_score=max(evaluation.score.value for evaluation in [*history, last]),
            step=len(history),
            train_loss=slot.mean_loss(),
            num_parameters=slot.adapter.num_parameters,
            head_parameters=slot.head.num_parameters,
            seconds=time.perf_counter() - start,
        ),
        slot=slot,
    )


def boundary_steps(num_examples: int, config: TrainingConfig) -> tuple[int, ...]:
    """Give the optimizer steps after which a trial is evaluated, the last one its end.

    Raises:
        ValueError: If an epoch has fewer steps than boundaries.
    """
    steps, per_epoch = -(-num_examples // config.batch_size), config.boundaries_per_epoch
    if steps < per_epoch:
        raise ValueError(f"an epoch of {steps} steps cannot have {per_epoch} boundaries")
    return tuple(
        epoch * steps + round(steps * (part + 1) / per_epoch)
        for epoch in range(config.epochs)
        for part in range(per_epoch)
    )


def _batches(split: TokenizedSplit, config: TrainingConfig, backbone: Backbone) -> Iterator[Batch]:
    for epoch in range(config.epochs):
        for indices in epoch_order(split, config.batch_size, seed=config.seed, epoch=epoch):
            yield split.batch(indices, backbone.device)


def _has_collapsed(now: Evaluation, majority: Evaluation, boundary: int, boundaries: int) -> bool:
    """Tell whether a trial answers one class, and has learnt no more than the classes' shares.

    Before half of its training it may still recover, and at its end nothing is left to stop.
    """
    late = 2 * boundary >= boundaries and boundary < boundaries
    return late and now.is_constant and now.loss >= majority.loss
