"""Scores trained adapters on a split that they were not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from allocator.adapters.saved import load_adapter, require_shapes, shapes_of
from allocator.allocation import Allocation
from allocator.data.tasks import Examples
from allocator.training.evaluation import evaluate_pack
from allocator.training.pack import Pack
from allocator.training.slot import Slot
from allocator.workers.setup import TrainingSetup, load_frozen_backbone, load_training_splits


def score_adapters(
    worker: TrainingSetup, paths: Sequence[Path], examples: Examples, device: str
) -> list[float]:
    """Score saved adapters with their heads by the task's metric, in the order of their files.

    Args:
        worker: What the workers knew that trained them.
        paths: Files of the adapters.
        examples: What they answer.
        device: The device to use.

    Raises:
        CheckpointError: If a file is missing or damaged, or its head is not the workers'.
    """
    backbone = load_frozen_backbone(worker, torch.device(device))
    split = load_training_splits(
        dataclasses.replace(worker, scoring=examples), backbone.device
    ).scoring
    pack = Pack(backbone, width=len(paths))
    for path in paths:
        saved = load_adapter(path)
        allocation = Allocation(ranks=saved.description.ranks, learning_rate=1.0)  # not trained
        slot = Slot(allocation, saved.description.spec, backbone, worker.training, total_steps=1)
        require_shapes(path, shapes_of(saved.head), shapes_of(slot.head.trained_state_dict()))
        slot.load(saved)
        pack.slots.append(slot)
    return [found.score.value for found in evaluate_pack(pack, split, worker.task.metric)]
