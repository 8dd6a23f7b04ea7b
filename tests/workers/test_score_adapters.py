"""Scores of saved adapters with their saved heads."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.adapters.build import build_adapter
from allocator.adapters.saved import save_adapter
from allocator.data.sources import TaskData
from allocator.errors import CheckpointError
from allocator.files.adapter_section import describe_adapter
from allocator.workers.score_adapters import AdapterScorer
from allocator.workers.setup import TrainingSetup


def test_an_adapter_without_its_head_is_not_scored(
    training_setup: TrainingSetup, small_task: TaskData, tmp_path: Path
) -> None:
    spec, ranks = training_setup.spec, training_setup.typical.ranks
    path = tmp_path / "1.safetensors"
    save_adapter(
        path,
        build_adapter(spec, ranks, seed=0),
        {},
        describe_adapter(spec, ranks, "", trains_pooler=True),
    )
    with pytest.raises(
        CheckpointError, match=r"1\.safetensors lacks tensor bert\.pooler\.dense\.bias$"
    ):
        AdapterScorer(training_setup, "cpu").answer([path], small_task.dev)
