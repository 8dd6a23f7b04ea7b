"""Models of images on the same ground as those of texts: counts, slots, packs, heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, ViTConfig, ViTForImageClassification

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import AdapterConfig, TrainingConfig
from allocator.data.formats.image_folder import read_image_folder
from allocator.inputs.images import decode_images
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import ModelSource, locate_model
from allocator.models.preprocessors import load_image_processor
from allocator.training.pack import TrainingPack
from allocator.training.training_slot import TrainingSlot

CPU = torch.device("cpu")
KINDS = ["vit", "deit", "dinov2"]
TARGETS = ("query", "key", "value")
RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}


def source_of(folder: Path) -> ModelSource:
    return locate_model(str(folder), folder / "no-cache")


def load(folder: Path, num_labels: int = 3) -> Backbone:
    return load_backbone(
        source_of(folder), TARGETS, num_labels=num_labels, precision="float32", device=CPU
    )


def some_images() -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def spec_on(backbone: Backbone) -> AdapterSpec:
    shape = AdapterShape(
        construction="att_qkv_depth", factorization="tucker", backbone=backbone.sites.shape
    )
    return AdapterSpec(shape=shape, config=AdapterConfig())


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_computes_what_transformers_does_in_every_slot(
    kind: str, tiny_image_models: dict[str, Path]
) -> None:
    reference = AutoModel.from_pretrained(tiny_image_models[kind], attn_implementation="eager")
    expected = reference.eval()(pixel_values=some_images()).last_hidden_state
    backbone = load(tiny_image_models[kind])
    inputs = {"pixel_values": some_images()}
    torch.testing.assert_close(backbone(inputs), expected)
    torch.testing.assert_close(backbone(inputs, blocks=(0, 0, 0)), expected.repeat(3, 1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_read_from_the_configuration_and_from_the_model(
    kind: str, tiny_image_models: dict[str, Path]
) -> None:
    shape = BackboneShape(d_in=32, heads=4, head_size=8, layers=2)
    assert read_backbone_shape(source_of(tiny_image_models[kind]), TARGETS) == shape
    backbone = load(tiny_image_models[kind])
    assert backbone.sites.shape == shape
    slot = TrainingSlot(
        Allocation(ranks=RANKS, learning_rate=1e-3),
        spec_on(backbone),
        backbone,
        TrainingConfig(epochs=1),
        10,
        seed=0,
    )
    # 32 x 4 + 8 x 2 + 4 x 2 + 3 x 2 + 2 x 2 and a core of 4 x 2 x 2 x 2 x 2
    assert slot.adapter.num_parameters == 128 + 16 + 8 + 6 + 4 + 64


def test_the_known_count_on_vit_base_is_read_without_its_weights(tmp_path: Path) -> None:
    ViTConfig().save_pretrained(tmp_path)
    backbone = read_backbone_shape(ModelSource(name="vit", folder=tmp_path, sha256=""), TARGETS)
    shape = AdapterShape(construction="att_qkv_depth", factorization="tucker", backbone=backbone)
    assert shape.num_parameters(dict.fromkeys(shape.rank_names, 8)) == 39_640


@pytest.mark.parametrize(("kind", "width"), [("vit", 32), ("deit", 32), ("dinov2", 64)])
def test_a_fresh_classifier_trains_and_nothing_else(
    kind: str, width: int, tiny_image_models: dict[str, Path]
) -> None:
    backbone = load(tiny_image_models[kind])
    assert backbone.head.trained_state_dict().keys() == {"classifier.weight", "classifier.bias"}
    assert backbone.head.num_parameters == 3 * width + 3
    assert not any(p.requires_grad for p in backbone.model.parameters())
    logits = backbone.head(backbone({"pixel_values": some_images()}), {})
    assert logits.shape == (4, 3)


def test_a_classifier_for_other_classes_starts_anew(
    tiny_image_models: dict[str, Path], tmp_path: Path
) -> None:
    model = ViTForImageClassification.from_pretrained(tiny_image_models["vit"], num_labels=7)
    model.save_pretrained(tmp_path)
    head = load(tmp_path).head
    assert head.trained_state_dict()["classifier.weight"].shape == (3, 32)
    one, other = (
        head.copy_with_fresh_parameters(seed).trained_state_dict()["classifier.weight"]
        for seed in (1, 2)
    )
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_trial_trains_as_it_does_alone(
    kind: str, tiny_image_models: dict[str, Path], image_folder: Path
) -> None:
    folder = tiny_image_models[kind]
    processor = load_image_processor(source_of(folder))
    split = decode_images(read_image_folder(image_folder)[1], processor, CPU)
    backbone = load(folder)
    batches = [split.make_batch(range(i, i + 8), CPU) for i in range(0, 48, 8)]

    def slots() -> list[TrainingSlot]:
        smaller = RANKS | {"input": 1, "depth": 1}
        return [
            TrainingSlot(
                allocation, spec_on(backbone), backbone, TrainingConfig(epochs=1), 12, seed=seed
            )
            for seed, allocation in enumerate(
                (
                    Allocation(ranks=RANKS, learning_rate=2e-3, core_lr_multiplier=4.0),
                    Allocation(ranks=smaller, learning_rate=1e-2),
                )
            )
        ]

    def train(trained: list[TrainingSlot]) -> list[float]:
        pack = TrainingPack(backbone, width=len(trained))
        pack.slots = trained
        for batch in batches:
            pack.step(batch)
        return [slot.compute_mean_loss() for slot in trained]

    alone = [train([slot])[0] for slot in slots()]
    assert train(slots()) == pytest.approx(alone, rel=1e-4)
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)
