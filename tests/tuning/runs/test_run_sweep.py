"""A published study trained for real on a tiny model, and its summary."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from allocator.adapters.build import build_adapter
from allocator.allocation.constructions import BackboneShape
from allocator.config import TrainingConfig
from allocator.files.study_folder import SUMMARY_FILE, TENSORBOARD_FOLDER
from allocator.progress.run_progress import RunProgress
from allocator.tuning.loggers.tensorboard_logger import RESULT_RUN
from allocator.tuning.plan.run_config import SweepConfig
from allocator.tuning.runs.run_sweep import run_sweep, summarize_sweep
from allocator.tuning.screen.sweep_table import print_sweep
from allocator.tuning.space.build_space import list_adapter_shapes, make_adapter_spec
from allocator.tuning.space.published_sweep import list_tenslora_plus
from allocator.tuning.space.space_file import read_space
from tests.tuning.loggers.event_files import read_curve, read_runs, read_text

ROBERTA_BASE = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)


def sweep(run_fields: Mapping[str, object], seeds: int, *log: str) -> str:
    asked = {"sweep": "tenslora-plus", "seeds": seeds, "log": log}
    training = {"slots": 8, "training": TrainingConfig(epochs=1)}
    config = SweepConfig.model_validate({**run_fields, **training, **asked})
    printed = StringIO()
    with RunProgress(Console(file=printed, width=80)) as progress:
        assert run_sweep(config, progress) is not None
    return printed.getvalue()


def test_the_published_allocations_have_their_published_sizes() -> None:
    phases = {phase.name: phase for phase in list_tenslora_plus(ROBERTA_BASE, 1e-3)}
    sizes = {
        name: phases[name].spec.shape.num_parameters(phases[name].allocation.ranks)
        for name in ("tucker-8", "cp-8", "lora-8", "lambda-16", "qkv-2")
    }
    tucker = 8 * (768 + 64 + 12 + 3 + 12)
    assert sizes == {
        "tucker-8": 39_640,
        "cp-8": 6_872,
        "lora-8": 442_368,
        "lambda-16": 39_640,
        "qkv-2": tucker - 6 * 3 + 8**4 * 2,
    }
    assert len(phases) == 3 + 3 + 8
    changed = [p.allocation.ranks for p in phases.values() if p.phase == "rank"]
    assert all(sum(rank != 8 for rank in ranks.values()) == 1 for ranks in changed)


def test_what_starts_at_zero_and_how_large_the_rest_starts_is_as_published() -> None:
    phases = {phase.name: phase for phase in list_tenslora_plus(ROBERTA_BASE, 1e-3)}
    cp, lora = (phases[name].spec for name in ("cp-8", "lora-8"))
    assert cp.shape.zero_mode == "input"
    (preset,) = list_adapter_shapes(read_space("lora"), ROBERTA_BASE)
    assert lora == make_adapter_spec(read_space("lora"), preset)
    a = build_adapter(lora, {"rank": 8}, seed=0).factors["input"]
    assert a.detach().std() == pytest.approx(
        (1 / 3 / 768) ** 0.5, rel=0.02
    )  # uniform within 1 / sqrt(768)


def test_more_seeds_are_added_to_those_that_are_there(
    run_fields: Mapping[str, object], study_folder: Path
) -> None:
    first = sweep(run_fields, 1)
    assert "0/14 done" in first
    assert "14/14 done" in first
    assert "nan" not in first  # one seed has no error
    second = sweep(run_fields, 2, "tensorboard")
    assert " 0/28 done" not in second
    assert "14/28 done" in second
    assert "28/28 done" in second
    table = pd.read_csv(study_folder / SUMMARY_FILE)
    assert (table.seeds == 2).all()
    assert all(name in second for name in table.name)
    runs = read_runs(study_folder / TENSORBOARD_FOLDER)
    logged = read_text(runs.pop(RESULT_RUN), "result").splitlines()
    assert [line.split(" | ")[1] for line in logged[2:]] == table.name.tolist()
    # Those of the first seed, which was trained without a logger, as well.
    assert runs.keys() == {f"sweep-{name}-seed-{seed}" for name in table.name for seed in range(2)}
    for row in table.itertuples():
        curves = [read_curve(runs[f"sweep-{row.name}-seed-{seed}"], "score") for seed in range(2)]
        assert [[step for step, _ in curve] for curve in curves] == [[1], [1]]
        assert np.mean([curve[0][1] for curve in curves]) == pytest.approx(row.mean, abs=1e-6)


def test_the_widest_rows_fit_on_80_columns() -> None:
    row: dict[str, object] = {
        "phase": "rank",
        "name": "head_dim-16",
        "parameters": 442_368,
        "mean": -0.1105,
        "standard_error": 0.1105,
        "difference": -0.1096,
        "difference_error": 0.1114,
        "calibrated_loss": 0.6549,
        "collapsed": 10,
        "seeds": 12,
    }
    printed = StringIO()
    print_sweep(Console(file=printed, width=80), pd.DataFrame([row]), "matthews_correlation")
    assert "…" not in printed.getvalue()
    assert "442,368  -0.1105 ± 0.1105  -0.1096 ± 0.1114  0.6549      10/12" in printed.getvalue()


def test_a_summary_compares_with_the_baseline_of_the_same_seeds() -> None:
    phases = list(list_tenslora_plus(ROBERTA_BASE, 1e-3))[:2]
    scores = {"tucker-8": [0.1, 0.3, 0.2], "cp-8": [0.2, 0.5, 0.2]}
    training = pd.DataFrame(
        [
            {"name": name, "seed": seed, "step": step, "score": score * step / 2}
            | {"calibrated_loss": 0.5, "ending": "collapsed" if step == 2 and score == 0.1 else ""}
            for name, values in scores.items()
            for seed, score in enumerate(values)
            for step in (1, 2)
        ]
    )
    found = summarize_sweep(training, phases, range(3)).set_index("name")
    assert found.loc["cp-8", "mean"] == pytest.approx(0.3)
    differences = np.array([0.1, 0.2, 0.0])
    assert found.loc["cp-8", "difference"] == pytest.approx(differences.mean())
    error = differences.std(ddof=1) / np.sqrt(3)
    assert found.loc["cp-8", "difference_error"] == pytest.approx(error)
    assert found.collapsed.tolist() == [1, 0]
    assert summarize_sweep(training, phases, [0]).seeds.tolist() == [1, 1]


def test_a_baseline_that_was_given_up_leaves_the_others_without_a_difference() -> None:
    phases = list(list_tenslora_plus(ROBERTA_BASE, 1e-3))[:2]
    row = {"name": "cp-8", "seed": 0, "step": 1, "score": 0.2, "ending": "completed"}
    row["calibrated_loss"] = 0.5
    (found,) = summarize_sweep(pd.DataFrame([row]), phases, [0]).to_dict("records")
    assert found["mean"] == 0.2
    assert np.isnan(found["difference"])
