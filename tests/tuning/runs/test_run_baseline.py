"""The baseline trained by itself, for real, and taken over by a search."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from allocator.adapters.saved import load_adapter
from allocator.command_line.options import RunOptions
from allocator.config import TrainingConfig
from allocator.errors import BudgetError, StudyError
from allocator.tuning.plan.run_config import BaselineConfig, SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.runs.run_baseline import run_baseline
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.study.open_study import load_study, open_study

MakeConfig = Callable[..., SearchConfig]


def baseline(options: RunOptions, **changes: object) -> tuple[str, BaselineConfig]:
    given: dict[str, object] = {
        "budget": 600,
        "space": "tenslora_plus",
        "also": (),
        "rank": None,
        "is_capped": True,
        **options,
    }
    config = BaselineConfig(**{**given, **changes})  # type: ignore[arg-type]  # checked by use
    printed = StringIO()
    run_baseline(config, Console(file=printed, width=200))
    return printed.getvalue(), config


def test_a_search_takes_the_baseline_that_was_trained_before_it(
    run_options: RunOptions, make_config: MakeConfig
) -> None:
    baseline(run_options)
    folder = run_options["studies_dir"] / "tiny"
    config = make_config(trials=2)
    run_search(plan_search(config), Console(quiet=True), trials=2, slots=2, timeout=None)
    with load_study(folder, None) as study:
        first = study.trials[0]
        assert first.user_attrs["baseline"]
        assert first.user_attrs["ending"] == "completed"
        training = study.baseline.table("training")
        assert list(first.intermediate_values.values()) == pytest.approx(training.score.tolist())
        assert first.user_attrs["losses"] == pytest.approx(training.calibrated_loss.tolist())
        seconds = training.seconds.iloc[-1]
        assert first.user_attrs["seconds"] == pytest.approx(seconds, abs=0.01)  # not again
        adapter = load_adapter(study.adapter_path(0)).adapter
    kept = load_adapter(folder / "baseline" / "uniform-seed-0.safetensors").adapter
    for mine, theirs in zip(adapter.parameters(), kept.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_baseline_that_is_there_is_not_trained_again_and_others_join_it(
    run_options: RunOptions, make_config: MakeConfig
) -> None:
    config = make_config(trials=1)
    run_search(plan_search(config), Console(quiet=True), trials=1, slots=2, timeout=None)
    folder = run_options["studies_dir"] / "tiny" / "baseline"
    before = (folder / "uniform-seed-0.safetensors").stat().st_mtime_ns
    printed, _ = baseline(run_options, also=("cp", "lora"))
    assert "cp, seed 0: completed" in printed
    assert "uniform, seed 0" not in printed
    assert (folder / "uniform-seed-0.safetensors").stat().st_mtime_ns == before
    starts = {}
    for name in ("uniform", "cp", "lora"):
        saved = load_adapter(folder / f"{name}-seed-0.safetensors")
        assert saved.adapter.num_parameters <= 600
        starts[name] = (
            saved.description.adapter.zero_mode,
            saved.description.adapter.initialization,
        )
    assert starts == {
        "uniform": (None, "orthogonal"),
        "cp": ("input", "orthogonal"),
        "lora": (None, "kaiming_uniform"),  # as the preset of this name
    }


def test_a_baseline_is_measured(run_options: RunOptions) -> None:
    printed, _ = baseline(run_options)
    folder = run_options["studies_dir"] / "tiny" / "baseline"
    for table in ("training", "gradients", "spectra", "modes", "truncation"):
        assert (folder / f"{table}.csv").stat().st_size > 0
    for mode in ("input", "head_dim", "heads", "qkv", "depth"):
        assert f"│ {mode} " in printed


def test_a_published_rank_has_a_folder_of_its_own_and_a_search_may_follow(
    run_options: RunOptions, make_config: MakeConfig
) -> None:
    baseline(run_options, rank=4, is_capped=False)
    folder = run_options["studies_dir"] / "tiny"
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["baseline-rank-4-uncapped"]
    saved = load_adapter(folder / "baseline-rank-4-uncapped" / "uniform-seed-0.safetensors")
    assert set(saved.adapter.ranks.values()) == {4}
    prepared = plan_search(make_config())
    with open_study(prepared.study, prepared.space, prepared.folder, prepared.url) as study:
        assert study.ask().user_attrs["baseline"]


def test_a_baseline_of_another_recipe_is_refused(
    run_options: RunOptions, make_config: MakeConfig
) -> None:
    baseline(run_options)
    config = make_config(training=TrainingConfig(epochs=1))
    with pytest.raises(StudyError, match=r"made with training\.epochs 2, got 1"):
        run_search(plan_search(config), Console(quiet=True), trials=1, slots=2, timeout=None)


def test_a_kind_that_does_not_fit_the_budget_is_refused(run_options: RunOptions) -> None:
    with pytest.raises(BudgetError, match="the smallest matrix"):
        baseline(run_options, also=("lora",), budget=100)


def test_nothing_is_left_behind_by_a_mistake(run_options: RunOptions, tmp_path: Path) -> None:
    with pytest.raises(BudgetError):
        baseline(run_options, also=("lora",), budget=100)
    assert not (tmp_path / "studies").exists()
