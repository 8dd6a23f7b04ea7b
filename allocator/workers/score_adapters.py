"""Score saved adapters on examples that they were not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from allocator.adapters.saved import load_adapter, read_shapes, require_shapes
from allocator.data.tasks import Examples
from allocator.training.evaluation import evaluate_pack
from allocator.training.pack import Pack
from allocator.training.slot import Slot
from allocator.workers.setup import TrainingSetup, load_frozen_backbone, load_training_splits


def score_adapters(
    setup: TrainingSetup, paths: Sequence[Path], examples: Examples, device: str
) -> list[float]:
    """Score saved adapters, with their heads, by the task's metric.

    Args:
        setup: The setup of the workers that trained them.
        paths: Files of the adapters.
        examples: The examples to answer.
        device: The device to use.

    Returns:
        One score for each file, in the order of `paths`.

    Raises:
        CheckpointError: If a file is missing or damaged, or its head is not that of `setup`.
    """
    backbone = load_frozen_backbone(setup, torch.device(device))
    # The examples take the place of the scoring split, so that they are read as in training.
    split = load_training_splits(
        dataclasses.replace(setup, scoring=examples), backbone.device
    ).scoring
    slots = []
    for path in paths:
        saved = load_adapter(path)
        expected = backbone.head.trained_state_dict()
        # `Slot.load` would fill a head that is incomplete with fresh random parameters.
        require_shapes(path, read_shapes(saved.head), read_shapes(expected))
        slots.append(Slot.load(saved, backbone, seed=setup.training.seed))
    pack = Pack(backbone, slots, width=len(slots))
    evaluations = evaluate_pack(pack, split, setup.task.metric)
    return [evaluation.score.value for evaluation in evaluations]
