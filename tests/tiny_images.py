"""Tiny models of images and a tiny folder of them, real but random; what a worker must know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.config import TrainingConfig
from allocator.data.sources import TaskData
from allocator.models.model_source import ModelSource
from allocator.workers.setup import TrainingSetup

COLORS = {"blue": (60, 90, 200), "green": (50, 170, 70), "red": (210, 60, 50)}
PER_CLASS = {"train": 16, "validation": 5}
PROCESSOR = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.3],
}


@pytest.fixture(scope="session")
def tiny_image_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of random models, 2 layers of 4 heads and 32 wide, 16 patches an image, by kind."""
    root = tmp_path_factory.mktemp("image-models")
    sizes: dict[str, float] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 16,
        "patch_size": 4,
        "initializer_range": 0.2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models: dict[str, PreTrainedModel] = {
            "vit": ViTModel(ViTConfig.from_dict({**sizes, "intermediate_size": 64})),
            "deit": DeiTModel(DeiTConfig.from_dict({**sizes, "intermediate_size": 64})),
            "dinov2": Dinov2Model(Dinov2Config.from_dict({**sizes, "mlp_ratio": 2})),
        }
    square = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    cropped = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 18},
        "do_center_crop": True,
        "crop_size": {"height": 16, "width": 16},
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
        processor = PROCESSOR | (cropped if name == "dinov2" else square)
        (root / name / "preprocessor_config.json").write_text(json.dumps(processor))
    return {name: root / name for name in models}


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noisy images of three colours, of different sizes."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in PER_CLASS.items():
        for name, color in COLORS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(20, 40, size=2)
                noise = rng.normal(scale=60, size=(height, width, 3))
                pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def image_task(image_folder: Path) -> Path:
    """A task file of the images."""
    file = image_folder / "colors.yaml"
    file.write_text("images: .\n")
    return file


@pytest.fixture(scope="session")
def training_setup(
    tiny_source: ModelSource, tiny_spec: AdapterSpec, small_task: TaskData
) -> TrainingSetup:
    """What a worker must know to train on a few sentences for two epochs."""
    ranks = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
    return TrainingSetup(
        model=tiny_source,
        spec=tiny_spec,
        task=small_task.task,
        train=small_task.train,
        scoring=small_task.dev,
        training=TrainingConfig(epochs=2, max_length=64),
        precision="float32",
        threads=1,
        typical=Allocation(ranks=ranks, learning_rate=2e-3, core_lr_multiplier=4.0),
    )
