"""Trains one trial on a frozen backbone, from a fresh adapter to its last boundary."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from allocator.adapters import AdapterSpec
from allocator.allocation import Allocation
from allocator.config import TrainingConfig
from allocator.training.backbone import Backbone
from allocator.training.batches import TokenizedSplit, epoch_order
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
        train_loss: Mean training loss since the boundary before the last.
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
    steps_per_epoch = -(-len(splits.train) // config.batch_size)
    slot = Slot(allocation, spec, backbone, config, config.epochs * steps_per_epoch)
    marks = boundary_steps(steps_per_epoch, config)
    ending: Ending = "completed"
    evaluations: list[Evaluation] = []
    step = 0
    for epoch in range(config.epochs):
        order = epoch_order(splits.train, config.batch_size, seed=config.seed, epoch=epoch)
        for indices in order:
            slot.step(splits.train.batch(indices, backbone.device))
            step += 1
            if (step % _DIVERGENCE_CHECK == 0 or step in marks) and slot.has_diverged():
                ending = "diverged"
                break
            if step not in marks:
                continue
            evaluations.append(evaluate_slot(slot, splits.scoring, splits.metric))
            if _has_collapsed(evaluations[-1], len(evaluations), len(marks)):
                ending = "collapsed"
                break
            verdict = on_boundary(
                trial, len(evaluations), evaluations[-1].score.value, evaluations[-1].loss
            )
            if verdict == "stop" and len(evaluations) < len(marks):
                ending = "stopped"
                break
        if ending != "completed":
            break
    if ending in ("diverged", "collapsed"):
        evaluations.append(evaluate_majority(splits.train, splits.scoring, splits.metric))
    return TrainedTrial(
        outcome=Outcome(
            ending=ending,
            score=evaluations[-1].score.value,
            loss=evaluations[-1].loss,
            parts=evaluations[-1].score.parts,
            best_score=max(evaluation.score.value for evaluation in evaluations),
            step=min(len(evaluations), len(marks)),
            train_loss=slot.take_mean_loss(),
            num_parameters=slot.adapter.num_parameters,
            head_parameters=slot.head.num_parameters,
            seconds=time.perf_counter() - start,
        ),
        slot=slot,
    )


def boundary_steps(steps_per_epoch: int, config: TrainingConfig) -> tuple[int, ...]:
    """Give the optimizer steps after which a trial is evaluated, the last one its end."""
    per_epoch = min(config.boundaries_per_epoch, steps_per_epoch)
    return tuple(
        epoch * steps_per_epoch + round(steps_per_epoch * (part + 1) / per_epoch)
        for epoch in range(config.epochs)
        for part in range(per_epoch)
    )


def _has_collapsed(evaluation: Evaluation, step: int, final_step: int) -> bool:
    # Before half of the training, trials that answer one class still recover.
    return evaluation.is_constant and 2 * step >= final_step
