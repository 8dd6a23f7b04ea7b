"""Trainings of several seeds in one pack, against each alone on its own examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import AdapterConfig, TrainingConfig
from allocator.data.formats.image_folder import read_image_folder
from allocator.data.sources import TaskData
from allocator.data.tasks import Examples, Task
from allocator.inputs.batches import Batch
from allocator.inputs.images import decode_images
from allocator.inputs.tokens import tokenize_examples
from allocator.models.model_source import ModelSource, locate_model
from allocator.models.preprocessors import load_image_processor, load_tokenizer
from allocator.training.pack import TrainingPack
from allocator.training.splits import Splits
from allocator.training.training_slot import TrainingSlot
from tests.training.seeds import (
    CPU,
    assert_trained_alike,
    hold_out_parts,
    train_alone,
    train_together,
)

SEEDS = (2, 0, 1, 0)  # of the slots, so that the last two of four read two of three blocks


@pytest.fixture
def splits(tiny_splits: Splits, small_task: TaskData) -> Splits:
    return hold_out_parts(tiny_splits.train, small_task.task, small_task.train)


def make_slots(
    backbone: Backbone, *, seeds: Sequence[int] = SEEDS, dropout: float = 0.0
) -> list[TrainingSlot]:
    """Build slots of several seeds, of different ranks, rates and kinds of adapter."""
    sites = backbone.sites.shape
    tucker, lora = (
        AdapterSpec(shape=shape, config=AdapterConfig())
        for shape in (
            AdapterShape(construction="att_qkv_depth", factorization="tucker", backbone=sites),
            AdapterShape(construction="matrix", factorization="matrix", backbone=sites),
        )
    )
    large, small = (
        {name: min(rank, bound) for name, bound in tucker.shape.rank_bounds.items()}
        for rank in (2, 1)
    )
    kinds = [
        (tucker, Allocation(ranks=large, learning_rate=2e-3, core_lr_multiplier=4.0)),
        (tucker, Allocation(ranks=small, learning_rate=1e-2)),
        (lora, Allocation(ranks={"rank": 3}, learning_rate=1e-3)),
        (tucker, Allocation(ranks=large, learning_rate=5e-3)),
    ]
    config = TrainingConfig(epochs=1, dropout=dropout)
    return [
        TrainingSlot(allocation, spec, backbone, config, 20, seed=seed)
        for (spec, allocation), seed in zip(kinds, seeds, strict=True)
    ]


class NarrowMemory(TrainingPack):
    """A pack on a device whose memory holds two slots; it keeps the blocks of its passes."""

    def __init__(self, backbone: Backbone, slots: Sequence[TrainingSlot]) -> None:
        super().__init__(backbone, slots, width=len(slots))
        self.read: list[int] = []

    def compute_hidden(
        self,
        slots: Sequence[TrainingSlot],
        batch: Batch,
        *,
        blocks: Sequence[int] | None = None,
        dropout: Sequence[float] = (),
        generators: Sequence[torch.Generator] = (),
        widths: Sequence[int | None] | None = None,
    ) -> Tensor:
        hidden = super().compute_hidden(
            slots, batch, blocks=blocks, dropout=dropout, generators=generators, widths=widths
        )
        if len(slots) > 2:
            raise torch.OutOfMemoryError("out of memory")
        self.read.append(len(set(blocks or ())))
        return hidden


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_training_beside_other_seeds_is_the_training_alone(
    dropout: float, tiny_backbone: Backbone, splits: Splits
) -> None:
    together, alone = (make_slots(tiny_backbone, dropout=dropout) for _ in range(2))
    train_together(TrainingPack(tiny_backbone, together, width=4), splits, batch_size=16)
    train_alone(tiny_backbone, alone, splits, batch_size=16)
    assert_trained_alike(together, alone)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(("seeds", "blocks"), [(SEEDS, 2), ((1, 1, 0, 0), 1)])
def test_turns_that_read_some_of_the_blocks_train_as_each_slot_alone(
    seeds: tuple[int, ...],
    blocks: int,
    dropout: float,
    tiny_backbone: Backbone,
    splits: Splits,
) -> None:
    turns, alone = (make_slots(tiny_backbone, seeds=seeds, dropout=dropout) for _ in range(2))
    pack = NarrowMemory(tiny_backbone, turns)
    train_together(pack, splits, batch_size=16)
    assert (pack.width, set(pack.read)) == (2, {blocks})
    train_alone(tiny_backbone, alone, splits, batch_size=16)
    assert_trained_alike(turns, alone)


def test_a_seed_goes_on_alike_when_another_leaves(tiny_backbone: Backbone, splits: Splits) -> None:
    slots, alone = (make_slots(tiny_backbone) for _ in range(2))
    pack = TrainingPack(tiny_backbone, slots, width=4)
    train_together(pack, splits, batch_size=16, steps=4)
    pack.slots = slots[1:]
    train_together(pack, splits, batch_size=16, steps=4)
    for _ in range(2):
        train_alone(tiny_backbone, alone[1:], splits, batch_size=16, steps=4)
    assert_trained_alike(slots[1:], alone[1:])
    assert slots[0].steps == 4


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_images_of_other_seeds_change_nothing(
    kind: str, dropout: float, tiny_image_models: dict[str, Path], image_folder: Path
) -> None:
    source = locate_model(str(tiny_image_models[kind]), image_folder / "no-cache")
    classes, train, _ = read_image_folder(image_folder)
    task = Task(name="colors", text_columns=(), label_column="", labels=classes, metric="accuracy")
    split = decode_images(train, load_image_processor(source), CPU)
    splits = hold_out_parts(split, task, train)
    backbone = load(source, num_labels=3)
    together, alone = (make_slots(backbone, dropout=dropout) for _ in range(2))
    train_together(TrainingPack(backbone, together, width=4), splits, batch_size=6)
    train_alone(backbone, alone, splits, batch_size=6)
    assert_trained_alike(together, alone)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_head_that_reads_the_mask_finds_the_last_tokens_of_its_own_block(
    dropout: float, tiny_llama: Path, small_task: TaskData
) -> None:
    source = ModelSource(name="tiny", folder=tiny_llama, sha256="")
    split = tokenize_examples(small_task.train, load_tokenizer(source), max_length=64)
    splits = hold_out_parts(split, small_task.task, small_task.train)
    backbone = load(source, targets=("key", "value"))
    together, alone = (make_slots(backbone, dropout=dropout) for _ in range(2))
    train_together(TrainingPack(backbone, together, width=4), splits, batch_size=16)
    train_alone(backbone, alone, splits, batch_size=16)
    assert_trained_alike(together, alone)


def test_segments_of_pairs_stay_with_their_block(
    tiny_source: ModelSource, tiny_backbone: Backbone, small_task: TaskData
) -> None:
    texts = [text for (text,) in small_task.train.inputs]
    labels = small_task.train.labels
    pairs = Examples(inputs=tuple(zip(texts, texts[1:] + texts[:1], strict=True)), labels=labels)
    split = tokenize_examples(pairs, load_tokenizer(tiny_source), max_length=64)
    assert split.token_type_ids is not None
    task = dataclasses.replace(small_task.task, text_columns=("one", "other"))
    splits = hold_out_parts(split, task, pairs)
    together, alone = (make_slots(tiny_backbone) for _ in range(2))
    train_together(TrainingPack(tiny_backbone, together, width=4), splits, batch_size=16)
    train_alone(tiny_backbone, alone, splits, batch_size=16)
    assert_trained_alike(together, alone)


def load(
    source: ModelSource,
    *,
    targets: Sequence[str] = ("query", "key", "value"),
    num_labels: int = 2,
) -> Backbone:
    return load_backbone(source, targets, num_labels=num_labels, precision="float32", device=CPU)
