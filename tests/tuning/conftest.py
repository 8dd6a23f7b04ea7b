"""Small searches that run for real, and baselines whose tables are made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from allocator.config import TrainingConfig
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.priors.baseline_evidence import Baseline
from allocator.tuning.space.space import Space

RunFields = Mapping[str, object]
MakeConfig = Callable[..., SearchConfig]
MakeBaseline = Callable[..., Baseline]


@pytest.fixture
def run_fields(tiny_bert: Path, small_glue: Path, tmp_path: Path) -> RunFields:
    """What every command that trains is asked, on a tiny model and a few sentences."""
    return {
        "task": "cola",
        "model": str(tiny_bert),
        "slots": 2,
        "training": TrainingConfig(epochs=2),
        "study": "tiny",
        "studies_dir": tmp_path / "studies",
        "data_dir": small_glue,
        "precision": "float32",
        "devices": ("cpu",),
        "model_cache": tmp_path / "cache",
    }


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """The folder of the study that `run_fields` name."""
    return tmp_path / "studies" / "tiny"


@pytest.fixture
def make_config(run_fields: RunFields) -> MakeConfig:
    """A search on a tiny model and a few sentences, any part of which can be replaced."""

    def make(**changes: object) -> SearchConfig:
        asked = {
            "budget": 600,
            "trials": 4,
            "verdict_seeds": 0,
            "rivals": (),
            "prior": "truncation",
            "prior_strength": 10.0,
        }
        return SearchConfig.model_validate({**run_fields, **asked, **changes})

    return make


@pytest.fixture(scope="session")
def make_baseline() -> MakeBaseline:
    """Make a baseline of one core; what is not given is the same for all modes."""

    def make(
        space: Space,
        *,
        effective_rank: Mapping[str, float] | None = None,
        normalized_entropy: Mapping[str, float] | None = None,
        top1_energy: Mapping[str, float] | None = None,
        gradient: Mapping[str, float] | None = None,
        losses: Mapping[str, list[float]] | None = None,
    ) -> Baseline:
        ranks = space.variants[0].feasible.find_uniform()
        modes = [
            {
                "step": step,
                "layer": 0,
                "target": 0,
                "mode": mode,
                "rank": rank,
                "entropy": 1.0,
                # An earlier boundary says the opposite, and must not count.
                "normalized_entropy": (normalized_entropy or {}).get(mode, 0.5) if step == 2 else 0,
                "effective_rank": (effective_rank or {}).get(mode, 2.0) if step == 2 else 100.0,
                "top1_energy": (top1_energy or {}).get(mode, 0.5) if step == 2 else 1.0,
                "stable_rank": 1.0,
            }
            for step in (1, 2)
            for mode, rank in ranks.items()
        ]
        gradients = [
            {"step": step, "part": part, "mean": (gradient or {}).get(part, 1.0), "max": 2.0}
            for step in (1, 2)
            for part in ("core", *ranks)
        ]
        truncation = [
            {"mode": mode, "rank": rank, "loss": curve[rank - 1]}
            for mode in ranks
            for curve in [(losses or {}).get(mode, [0.5] * ranks[mode])]
            for rank in range(1, ranks[mode] + 1)
        ]
        return Baseline(
            ranks=ranks,
            modes=pd.DataFrame(modes),
            gradients=pd.DataFrame(gradients),
            truncation=pd.DataFrame(truncation, columns=["mode", "rank", "loss"]),
        )

    return make
