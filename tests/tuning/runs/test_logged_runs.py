"""Commands that log what they train, for real, to TensorBoard's files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from allocator.config import TrainingConfig
from allocator.files.study_folder import TENSORBOARD_FOLDER
from allocator.tuning.loggers.tensorboard_logger import RESULT_RUN
from allocator.tuning.plan.run_config import BaselineConfig, SweepConfig
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.runs.run_baseline import run_baseline
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.runs.run_sweep import run_sweep
from allocator.tuning.study.open_study import load_study
from tests.tuning.loggers.event_files import read_curve, read_runs, read_text

MakeConfig = Callable[..., SearchConfig]
LOG = ("tensorboard",)


def test_a_baseline_and_the_search_after_it_are_logged_together_and_once(
    run_fields: Mapping[str, object], make_config: MakeConfig, study_folder: Path
) -> None:
    config = BaselineConfig.model_validate({**run_fields, "budget": 600, "log": LOG})
    run_baseline(config, Console(quiet=True))
    folder = study_folder / TENSORBOARD_FOLDER
    assert read_runs(folder).keys() == {"00000-baseline-seed-0"}
    search = make_config(trials=4, verdict_seeds=1, log=LOG)
    for _ in range(2):  # the second time nothing is left to train, nor to log
        run_search(search, plan_search(search), Console(quiet=True))
    runs = read_runs(folder)
    table = read_text(runs[RESULT_RUN], "result")
    assert len(runs[RESULT_RUN].Tensors("result/text_summary")) == 1
    with load_study(study_folder, None) as study:
        trials = study.trials
    names = [name for name in runs if name != RESULT_RUN and not name.startswith("delivered")]
    assert len(names) == len(trials) == 4
    for name, trial in zip(names, trials, strict=True):
        assert name.startswith(f"{trial.number:05d}-")
        curve = dict(read_curve(runs[name], "calibrated_loss"))
        assert curve == pytest.approx(trial.intermediate_values, abs=1e-6)
        assert len(read_curve(runs[name], "calibrated_loss")) == len(curve)
    assert len([name for name in runs if name.startswith("delivered-")]) == 1
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert {row[1] for row in rows} >= {"loss on dev"} or {row[1] for row in rows} == {
        "expected calibrated loss"
    }
    assert rows[0][2] == "choice"


def test_a_sweep_is_logged_with_its_summary(
    run_fields: Mapping[str, object], study_folder: Path
) -> None:
    asked = {"sweep": "tenslora-plus", "seeds": 1, "slots": 8, "log": LOG}
    config = SweepConfig.model_validate(
        {**run_fields, **asked, "training": TrainingConfig(epochs=1)}
    )
    printed = Console(file=io.StringIO(), width=80)
    assert run_sweep(config, printed) is not None
    runs = read_runs(study_folder / TENSORBOARD_FOLDER)
    table = read_text(runs.pop(RESULT_RUN), "result").splitlines()
    assert table[0].startswith("| phase | name | ranks |")
    assert len(table) == 2 + len(runs)
    for line in table[2:]:
        name, mean = line.split(" | ")[1], float(line.split(" | ")[5])
        ((step, score),) = read_curve(runs[f"sweep-{name}-seed-0"], "score")
        assert (step, round(score, 4)) == (1, mean)
