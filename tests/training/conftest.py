"""A study's folder, as far as using its result needs one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from allocator.adapters import Recipe, attach
from allocator.adapters.recipe import write_yaml


@pytest.fixture
def study(tiny_recipe: Recipe, tmp_path: Path) -> Path:
    """A folder with a recipe and its adapter, whose updates are random."""
    folder = tmp_path / "studies" / "small"
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    write_yaml(folder / "best.yaml", tiny_recipe, "A recipe.")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_recipe.model.name)
    attached = attach(model, tiny_recipe)
    torch.nn.init.normal_(attached.adapter.zero_part, std=0.2)
    attached.save(folder / "adapter.safetensors")
    return folder
