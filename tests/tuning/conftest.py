"""Small searches that run for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.config import SearchConfig, TrainingConfig
from allocator.options import RunOptions

MakeConfig = Callable[..., SearchConfig]


@pytest.fixture
def run_options(tiny_bert: Path, small_glue: Path, tmp_path: Path) -> RunOptions:
    """What every command that trains is asked, on a tiny model and a few sentences."""
    return RunOptions(
        task="cola",
        model=str(tiny_bert),
        targets=None,
        slots=2,
        training=TrainingConfig(epochs=2),
        study="tiny",
        studies_dir=tmp_path / "studies",
        data_dir=small_glue,
        fallback_data_dir=None,
        data_source="auto",
        select_on="held_out",
        precision="float32",
        devices=("cpu",),
        model_cache=tmp_path / "cache",
    )


@pytest.fixture
def make_config(run_options: RunOptions) -> MakeConfig:
    """A search on a tiny model and a few sentences, any part of which can be replaced."""

    def make(**changes: object) -> SearchConfig:
        given: dict[str, object] = {
            "budget": 600,
            "space": "tenslora_plus",
            "trials": 4,
            "timeout": None,
            "storage": None,
            "sampler": "gp",
            "pruner": "halving",
            **run_options,
        }
        return SearchConfig(**{**given, **changes})  # type: ignore[arg-type]  # checked by use

    return make
