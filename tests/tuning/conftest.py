"""Small searches that run for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.config import SearchConfig, TrainingConfig

MakeConfig = Callable[..., SearchConfig]


@pytest.fixture
def make_config(tiny_bert: Path, small_glue: Path, tmp_path: Path) -> MakeConfig:
    """A search on a tiny model and a few sentences, any part of which can be replaced."""

    def make(**changes: object) -> SearchConfig:
        given: dict[str, object] = {
            "budget": 600,
            "task": "cola",
            "model": str(tiny_bert),
            "space": "tenslora_plus",
            "targets": None,
            "trials": 4,
            "slots": 2,
            "timeout": None,
            "training": TrainingConfig(epochs=2),
            "study": "tiny",
            "studies_dir": tmp_path / "studies",
            "storage": None,
            "data_dir": small_glue,
            "fallback_data_dir": None,
            "data_source": "auto",
            "select_on": "held_out",
            "precision": "float32",
            "sampler": "gp",
            "pruner": "halving",
            "prior": "truncation",
            "prior_strength": 10.0,
            "start": (),
            "devices": ("cpu",),
            "model_cache": tmp_path / "cache",
        }
        return SearchConfig(**{**given, **changes})  # type: ignore[arg-type]  # checked by use

    return make
