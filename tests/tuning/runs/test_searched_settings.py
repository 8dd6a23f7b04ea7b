"""Searches over settings of the training, and on a part of the data, for real."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from allocator.files.recipe import Recipe, read_recipe
from allocator.files.study_folder import CONFIG_FILE, RECIPE_FILE, TRAINED_FOLDER
from allocator.progress.run_progress import RunProgress
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.study.open_study import load_study
from allocator.workers.train_recipe import train_recipe

MakeConfig = Callable[..., SearchConfig]
SPACE = """
construction: att_qkv_depth
factorization: tucker
parameters:
  head_learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
  dropout: {low: 0.01, high: 0.4}
"""


def search(config: SearchConfig) -> Recipe:
    plan = plan_search(config)
    best = run_search(config, plan, RunProgress(Console(file=io.StringIO())))
    assert best is not None
    return read_recipe(plan.folder / RECIPE_FILE)


def test_head_learning_rate_and_dropout_are_searched_where_the_space_has_their_ranges(
    make_config: MakeConfig, tmp_path: Path, study_folder: Path
) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text(SPACE)
    recipe = search(make_config(space=str(space), trials=4, prior="none"))
    with load_study(study_folder, None) as study:
        params = [trial.params for trial in study.trials]
        best = params[int(recipe.study["trial"])]
        allocation = study.space.make_allocation(best)
    assert params[0]["head_learning_rate"] == pytest.approx(1e-3)  # the middle, for the baseline
    assert params[0]["dropout"] == 0.01  # the least
    for name in ("head_learning_rate", "dropout"):
        assert len({values[name] for values in params}) > 1
        assert getattr(recipe.training, name) == best[name]
    assert recipe.make_allocation() == allocation


def test_a_search_on_a_part_of_the_data_has_a_name_and_a_recipe_that_say_so(
    make_config: MakeConfig, small_glue: Path, tmp_path: Path
) -> None:
    config = make_config(study=None, limit=80, trials=1)
    recipe = search(config)
    folder = config.studies_dir / "cola-bert-600-limit-80"
    assert (folder / CONFIG_FILE).is_file()
    assert recipe.task.limit == 80
    report = train_recipe(
        recipe,
        output=folder / TRAINED_FOLDER,
        data_source="auto",
        data_dir=small_glue,
        fallback_dir=None,
        model_cache=tmp_path / "cache",
        progress=RunProgress(Console(quiet=True)),
    )
    assert report.ending == "completed"
