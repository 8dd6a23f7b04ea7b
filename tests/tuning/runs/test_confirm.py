"""A study's best allocations trained again with other seeds, for real, on a tiny model."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from allocator.files.recipe import read_recipe
from allocator.files.study_folder import CONFIRMATION_FOLDER, RECIPE_FILE
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.study.confirmation import Confirmation, read_confirmation, write_confirmation

MakeConfig = Callable[..., SearchConfig]


def search(config: SearchConfig) -> tuple[str, Path]:
    plan = plan_search(config)
    printed = io.StringIO()
    run_search(config, plan, Console(file=printed, width=160))
    return printed.getvalue(), plan.folder


def confirmation(
    held_out: dict[int, list[float]], dev: dict[int, list[float]] | None = None
) -> Confirmation:
    """Make one of trials whose first is the baseline."""
    rows = [
        {
            "trial": trial,
            "is_baseline": trial == 0,
            "seed": seed,
            "held_out": score,
            "dev": dev[trial][seed - 1] if dev and trial in dev else math.nan,
        }
        for trial, scores in held_out.items()
        for seed, score in enumerate(scores, start=1)
    ]
    return Confirmation(scores=pd.DataFrame(rows))


def test_other_seeds_choose_and_dev_is_scored_for_the_choice_and_the_baseline(
    make_config: MakeConfig,
) -> None:
    text, folder = search(make_config(trials=3, confirm_seeds=2))
    found = read_confirmation(folder)
    assert found is not None
    assert found.seeds == [1, 2]  # not the study's own
    assert found.baseline == 0
    assert len(found.trials) >= 2
    means = found.scores.groupby("trial").held_out.mean()
    assert means[found.best] == means.max()
    scored = found.scores.dropna(subset="dev")
    assert set(scored.trial) == {0, found.best}
    recipe = read_recipe(folder / RECIPE_FILE)
    assert recipe.study["trial"] == found.best
    assert recipe.scores["held_out_mean"] == pytest.approx(means[found.best])
    assert recipe.scores["dev_mean"] == pytest.approx(scored[scored.trial == found.best].dev.mean())
    assert "held out, 2 other seeds" in text


def test_a_gain_on_dev_that_dev_chose_is_called_optimistic(make_config: MakeConfig) -> None:
    text, _ = search(make_config(trials=2, confirm_seeds=1, select_on="dev"))
    assert "The choice was made on dev, so its dev scores are optimistic." in text
    assert "dev, 1 other seed " in text
    assert "held out" not in text


def test_the_highest_mean_is_chosen_not_the_luckiest_seed() -> None:
    found = confirmation({0: [0.3, 0.3], 3: [0.5, 0.5], 7: [0.9, 0.0]})
    assert found.best == 3


def test_the_difference_is_paired_and_its_interval_is_students() -> None:
    best, baseline = [0.50, 0.58, 0.63], [0.42, 0.52, 0.52]
    found = confirmation({0: baseline, 4: best}, {0: baseline, 4: best})
    difference = found.difference("dev")
    reference = stats.ttest_rel(best, baseline).confidence_interval(0.95)
    assert difference is not None
    assert (difference.low, difference.high) == pytest.approx((reference.low, reference.high))
    assert difference.mean == pytest.approx(0.25 / 3)
    assert difference.is_distinguishable == (reference.low > 0)


def test_nothing_is_compared_where_the_baseline_wins_or_one_seed_was_trained() -> None:
    assert confirmation({0: [0.5, 0.6], 4: [0.4, 0.5]}).difference("held_out") is None
    assert confirmation({0: [0.4], 4: [0.5]}).difference("held_out") is None


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    (tmp_path / CONFIRMATION_FOLDER).mkdir()
    written = confirmation({0: [0.4, 0.3], 4: [0.5, 0.5]}, {4: [0.2, 0.1]})
    write_confirmation(tmp_path, written)
    read = read_confirmation(tmp_path)
    assert read is not None
    pd.testing.assert_frame_equal(read.scores, written.scores)
    assert read_confirmation(tmp_path / "elsewhere") is None
