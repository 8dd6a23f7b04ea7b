"""A decoder: causal attention, grouped keys and values, a head that reads the last token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import Construction, Mode
from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import AdapterConfig, Precision, TrainingConfig
from allocator.data.sources import TaskData
from allocator.errors import SpaceError
from allocator.inputs.tokens import TokenizedSplit, tokenize_examples
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import ModelSource
from allocator.models.preprocessors import load_tokenizer
from allocator.training.evaluation import evaluate_pack
from allocator.training.pack import TrainingPack
from allocator.training.training_slot import TrainingSlot

CPU = torch.device("cpu")
END = 2  # id of the token that ends every sentence, and pads


@pytest.fixture
def source(tiny_llama: Path) -> ModelSource:
    return ModelSource(name="tiny", folder=tiny_llama, sha256="")


@pytest.fixture
def split(source: ModelSource, small_task: TaskData) -> TokenizedSplit:
    examples = small_task.train.select(range(48))
    return tokenize_examples(examples, load_tokenizer(source), max_length=64)


def load(source: ModelSource, precision: Precision = "float32") -> Backbone:
    return load_backbone(source, ("key", "value"), num_labels=2, precision=precision, device=CPU)


def make_slots(backbone: Backbone) -> list[TrainingSlot]:
    """Two slots of different ranks, rates and seeds."""
    shape = AdapterShape(
        construction="att_qkv_depth", factorization="tucker", backbone=backbone.sites.shape
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    return [
        TrainingSlot(
            Allocation(ranks=dict.fromkeys(shape.rank_names, rank), learning_rate=rate),
            spec,
            backbone,
            TrainingConfig(epochs=1),
            total_steps=20,
            seed=rank,
        )
        for rank, rate in ((1, 5e-3), (2, 1e-3))
    ]


def train(backbone: Backbone, slots: list[TrainingSlot], split: TokenizedSplit) -> TrainingPack:
    pack = TrainingPack(backbone, width=len(slots))
    pack.slots = slots
    for start in range(0, 48, 8):
        pack.step(split.make_batch(range(start, start + 8), CPU))
    return pack


def test_a_tokenizer_without_a_padding_token_pads_with_the_end_and_the_mask_tells(
    source: ModelSource, split: TokenizedSplit
) -> None:
    assert load_tokenizer(source).pad_token_id is None
    batch = split.make_batch(range(8), CPU)
    mask = batch.inputs["attention_mask"]
    assert mask.sum(1).tolist() == split.lengths[:8].tolist()
    assert set(batch.inputs["input_ids"][mask == 0].tolist()) == {END}


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_a_decoder_computes_what_transformers_does(padded: bool, source: ModelSource) -> None:
    inputs = {
        "input_ids": torch.randint(4, 100, (2, 7), generator=torch.Generator().manual_seed(0))
    }
    mask = torch.ones(2, 7, dtype=torch.int64)
    if padded:
        mask[1, 4:] = 0
        inputs["attention_mask"] = mask
    reference = AutoModel.from_pretrained(source.folder, attn_implementation="eager").eval()
    expected = reference(**inputs).last_hidden_state
    torch.testing.assert_close(load(source)(inputs)[mask == 1], expected[mask == 1])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_head_reads_the_last_token_that_is_no_padding(
    precision: Precision, source: ModelSource, split: TokenizedSplit
) -> None:
    backbone = load(source, precision)
    batch = split.make_batch([0, 1, 2], CPU)
    together = backbone.head(backbone(batch.inputs), batch.inputs)
    tolerance = 1e-4 if precision == "float32" else 0.1
    for i in range(3):
        alone = backbone.head(
            backbone(split.make_batch([i], CPU).inputs), split.make_batch([i], CPU).inputs
        )
        torch.testing.assert_close(together[[i]], alone, rtol=tolerance, atol=tolerance)


def test_a_packed_decoder_trains_as_it_does_alone(
    source: ModelSource, split: TokenizedSplit
) -> None:
    backbone = load(source)
    packed, alone = make_slots(backbone), make_slots(backbone)
    train(backbone, packed, split)
    for slot in alone:
        train(backbone, [slot], split)
    together, apart = ([slot.compute_mean_loss() for slot in slots] for slots in (packed, alone))
    assert together == pytest.approx(apart, rel=1e-4)
    assert together[0] != pytest.approx(together[1], rel=1e-3)


def test_a_decoders_score_is_that_of_its_sentences_one_by_one(
    source: ModelSource, split: TokenizedSplit
) -> None:
    backbone = load(source)
    slots = make_slots(backbone)
    pack = train(backbone, slots, split)
    evaluations = evaluate_pack(pack, split, "matthews_correlation")
    for slot, evaluation in zip(slots, evaluations, strict=True):
        backbone.sites.set_updates([slot.compute_pairs()])
        with torch.no_grad():
            logits = [
                slot.head(
                    backbone(split.make_batch([i], CPU).inputs), split.make_batch([i], CPU).inputs
                )
                for i in range(48)
            ]
        loss = torch.nn.functional.cross_entropy(torch.cat(logits), split.labels)
        assert evaluation.loss == pytest.approx(loss.item(), rel=1e-4)


def test_the_heads_of_every_target_are_known_before_weights_are_read(source: ModelSource) -> None:
    shape = read_backbone_shape(source, ("query", "key", "value"))
    assert (shape.heads, shape.target_heads, shape.target_widths) == (4, (4, 2, 2), (32, 16, 16))


@pytest.mark.parametrize("construction", ["qkv", "att_qkv_depth", "sites", "att_sites"])
def test_heads_of_different_numbers_are_not_stacked_into_one_tensor(
    construction: Construction, source: ModelSource
) -> None:
    backbone = read_backbone_shape(source, ("query", "key", "value"))
    message = (
        f"{construction} stacks all targets into one tensor, so they must have the same number of "
        "heads, got 4 heads (query), 2 heads (key, value); choose a space whose tensors have one "
        "target each, such as --space lora, or --targets query or --targets key,value"
    )
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        AdapterShape(construction=construction, factorization="tucker", backbone=backbone)


@pytest.mark.parametrize(("construction", "mode"), [("att", "heads"), ("depth", "output")])
def test_a_mode_of_different_lengths_cannot_be_full(
    construction: Construction, mode: Mode, source: ModelSource
) -> None:
    message = (
        f"mode {mode} can only be full if all targets have the same number of heads, got 4 heads "
        "(query), 2 heads (key, value); give it a rank, or choose --targets query or --targets "
        "key,value"
    )
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        AdapterShape(
            construction=construction,
            factorization="tucker",
            backbone=read_backbone_shape(source, ("query", "key", "value")),
            full_modes=frozenset({mode}),
        )
