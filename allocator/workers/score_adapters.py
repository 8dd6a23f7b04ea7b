"""Score saved adapters on examples that they were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from allocator.adapters.saved import load_adapter, read_shapes, require_shapes
from allocator.data.tasks import Examples
from allocator.inputs.reader import load_reader
from allocator.training.evaluation import evaluate_pack
from allocator.training.pack import Pack
from allocator.training.slot import Slot
from allocator.workers.setup import TrainingSetup, load_frozen_backbone


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
    read = load_reader(
        setup.model, setup.task, max_length=setup.training.max_length, device=backbone.device
    )
    slots = []
    for path in paths:
        saved = load_adapter(path)
        expected = backbone.head.trained_state_dict()
        # `Slot.load` would fill a head that is incomplete with fresh random parameters.
        require_shapes(path, read_shapes(saved.head), read_shapes(expected))
        slots.append(Slot.load(saved, backbone, seed=setup.training.seed))
    pack = Pack(backbone, slots, width=len(slots))
    evaluations = evaluate_pack(pack, read(examples), setup.task.metric)
    return [evaluation.score.value for evaluation in evaluations]
