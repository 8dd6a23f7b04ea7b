"""The baseline trained by itself, for real, and taken over by a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import get_args

import pytest
import torch
from rich.console import Console

from allocator.adapters.saved import load_adapter
from allocator.config import TrainingConfig
from allocator.errors import BudgetError, StudyError
from allocator.files.study_folder import (
    TENSORBOARD_FOLDER,
    UNIFORM,
    TableName,
    baseline_folder,
    named_adapter_path,
    table_path,
)
from allocator.progress.run_progress import RunProgress
from allocator.tuning.loggers.tensorboard_logger import RESULT_RUN
from allocator.tuning.plan.run_config import BaselineConfig
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.runs.run_baseline import run_baseline
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.storage.trial_memory import is_baseline, read_ending
from allocator.tuning.study.open_study import load_study
from tests.tuning.loggers.event_files import read_curve, read_runs, read_text
from tests.tuning.studies import opened, start

RunFields = Mapping[str, object]
MakeConfig = Callable[..., SearchConfig]


def baseline(run_fields: RunFields, **changes: object) -> str:
    config = BaselineConfig.model_validate({**run_fields, "budget": 600, **changes})
    printed = StringIO()
    with RunProgress(Console(file=printed, width=200)) as progress:
        run_baseline(config, progress)
    return printed.getvalue()


def search(config: SearchConfig) -> None:
    run_search(config, plan_search(config), RunProgress(Console(quiet=True)))


def _check_logged(study_folder: Path) -> None:
    """Check that every training is logged once, with the curve that the study remembers."""
    runs = read_runs(study_folder / TENSORBOARD_FOLDER)
    result = runs.pop(RESULT_RUN)
    assert len(result.Tensors("result/text_summary")) == 1
    assert " | expected calibrated loss | choice | " in read_text(result, "result")
    delivered = [name for name in runs if name.startswith("delivered-")]
    assert len(delivered) == 1
    with load_study(study_folder, None) as study:
        trials = study.trials
    names = [name for name in runs if name not in delivered]
    assert [name[:5] for name in names] == [f"{trial.number:05d}" for trial in trials]
    for name, trial in zip(names, trials, strict=True):
        curve = read_curve(runs[name], "calibrated_loss")
        assert dict(curve) == pytest.approx(trial.intermediate_values, abs=1e-6)
        assert len(curve) == len(trial.intermediate_values)


def test_a_search_takes_the_baseline_that_was_trained_before_it(
    run_fields: RunFields, make_config: MakeConfig, study_folder: Path
) -> None:
    baseline(run_fields, log=("tensorboard",))
    assert read_runs(study_folder / TENSORBOARD_FOLDER).keys() == {"00000-baseline-seed-0"}
    recorded = named_adapter_path(baseline_folder(study_folder), UNIFORM, 0)
    before = recorded.stat().st_mtime_ns
    for _ in range(2):  # the second time nothing is left to train, nor to log
        search(make_config(trials=2, log=("tensorboard",)))
    assert recorded.stat().st_mtime_ns == before  # it was not trained again
    _check_logged(study_folder)
    with load_study(study_folder, None) as study:
        first = study.trials[0]
        assert is_baseline(first)
        assert read_ending(first) == "completed"
        training = study.baseline.read("training")
        assert list(first.intermediate_values.values()) == pytest.approx(
            training.calibrated_loss.tolist()
        )
        adapter = load_adapter(study.adapter_path(0)).adapter
    kept = load_adapter(recorded).adapter
    for mine, theirs in zip(adapter.parameters(), kept.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_baseline_that_is_there_is_not_trained_again_and_others_join_it(
    run_fields: RunFields, make_config: MakeConfig, study_folder: Path
) -> None:
    search(make_config(trials=1))
    folder = baseline_folder(study_folder)
    before = named_adapter_path(folder, UNIFORM, 0).stat().st_mtime_ns
    printed = baseline(run_fields, also=("cp", "lora"))
    assert "0/3 done" not in printed
    assert "3/3 done" in printed
    assert named_adapter_path(folder, UNIFORM, 0).stat().st_mtime_ns == before
    starts = {}
    for name in ("uniform", "cp", "lora"):
        saved = load_adapter(named_adapter_path(folder, name, 0))
        assert saved.adapter.num_parameters <= 600
        starts[name] = (
            saved.description.zero_mode,
            saved.description.initialization,
        )
    assert starts == {
        "uniform": (None, "orthogonal"),
        "cp": ("input", "orthogonal"),
        "lora": (None, "kaiming_uniform"),  # as the preset of this name
    }


def test_a_baseline_is_measured(run_fields: RunFields, study_folder: Path) -> None:
    printed = baseline(run_fields)
    for table in get_args(TableName):
        assert table_path(baseline_folder(study_folder), table).stat().st_size > 0
    for mode in ("input", "head_dim", "heads", "qkv", "depth"):
        assert f"│ {mode} " in printed


def test_a_published_rank_has_a_folder_of_its_own_and_a_search_may_follow(
    run_fields: RunFields, make_config: MakeConfig, study_folder: Path
) -> None:
    baseline(run_fields, rank=4, uncapped=True)
    folder = baseline_folder(study_folder, 4, is_capped=False)
    assert [path for path in study_folder.iterdir() if path.is_dir()] == [folder]
    saved = load_adapter(named_adapter_path(folder, UNIFORM, 0))
    assert set(saved.adapter.ranks.values()) == {4}
    plan = plan_search(make_config())
    with opened(plan) as study:
        assert is_baseline(start(study))


def test_a_baseline_of_another_configuration_is_refused(
    run_fields: RunFields, make_config: MakeConfig
) -> None:
    baseline(run_fields)
    with pytest.raises(StudyError, match=r"made with training\.epochs 2, got 1"):
        search(make_config(training=TrainingConfig(epochs=1)))


def test_a_kind_that_does_not_fit_the_budget_is_refused(run_fields: RunFields) -> None:
    with pytest.raises(BudgetError, match="the smallest matrix"):
        baseline(run_fields, also=("lora",), budget=100)


def test_nothing_is_left_behind_by_a_mistake(run_fields: RunFields, tmp_path: Path) -> None:
    with pytest.raises(BudgetError):
        baseline(run_fields, also=("lora",), budget=100)
    assert not (tmp_path / "studies").exists()
