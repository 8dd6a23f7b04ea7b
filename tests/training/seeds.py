"""Splits of which every seed holds out a part, and trainings that read them alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.data.held_out import split_held_out
from allocator.data.tasks import Examples, Task
from allocator.inputs.batches import Split, order_epoch
from allocator.training.epoch import Epoch
from allocator.training.pack import TrainingPack
from allocator.training.splits import Splits
from allocator.training.training_slot import TrainingSlot

CPU = torch.device("cpu")


def hold_out_parts(split: Split, task: Task, train: Examples) -> Splits:
    """Make splits in which every seed holds out a part of train, of which `split` is made."""
    return Splits(
        train=split,
        metric=task.metric,
        hold_out=lambda seed: split_held_out(train, task=task, seed=seed),
    )


def train_together(pack: TrainingPack, splits: Splits, *, batch_size: int, steps: int = 8) -> None:
    """Train slots of several seeds in one pack, from the first steps of an epoch."""
    seeds = sorted({slot.seed for slot in pack.slots})
    epoch = Epoch(splits, TrainingConfig(batch_size=batch_size), CPU)
    for batch in epoch.make_portion(0, seeds)[:steps]:
        pack.step(batch, seeds)


def train_alone(
    backbone: Backbone,
    slots: Sequence[TrainingSlot],
    splits: Splits,
    *,
    batch_size: int,
    steps: int = 8,
) -> None:
    """Train slots one by one, each on batches of its own part that are padded by themselves."""
    for slot in slots:
        part = splits.of_seed(slot.seed).train
        pack = TrainingPack(backbone, [slot], width=1)
        for indices in order_epoch(part.lengths, batch_size, seed=slot.seed)[:steps]:
            pack.step(part.make_batch(indices, CPU))


def assert_trained_alike(slots: Sequence[TrainingSlot], others: Sequence[TrainingSlot]) -> None:
    """Assert that slots have the losses and the parameters of others, to rounding."""
    for slot, other in zip(slots, others, strict=True):
        assert slot.steps == other.steps > 0
        assert slot.compute_mean_loss() == pytest.approx(other.compute_mean_loss(), rel=1e-5)
        torch.testing.assert_close(_parameters(slot), _parameters(other), rtol=1e-3, atol=1e-5)


def _parameters(slot: TrainingSlot) -> list[Tensor]:
    parts = [*slot.adapter.parameters(), *slot.head.trained_state_dict().values()]
    return [part.detach() for part in parts]
