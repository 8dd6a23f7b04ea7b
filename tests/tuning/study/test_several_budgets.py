"""A study of several budgets: what is trained for each, and what is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.errors import BudgetError
from allocator.training.messages import Job
from allocator.tuning.names import SamplerName
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import make_baseline_params
from allocator.tuning.space.space_file import read_space
from allocator.tuning.storage.trial_memory import (
    list_standing,
    read_budget,
    read_purpose,
    read_rival,
    read_seed,
)
from allocator.tuning.study.study import SearchStudy
from tests.tuning.scripted import TINY, Script, draw_luck

BUDGETS = (300, 450)
LARGEST = 700


def run(folder: Path, **options: object) -> SearchStudy:
    settings = {"trials": 44, "smaller_budgets": BUDGETS, **options}
    return Script(folder=folder, **settings).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", ["gp", "random", "tpe"])
def test_suggestions_seek_the_best_within_each_budget_in_turn(
    sampler: SamplerName, tmp_path: Path
) -> None:
    study = run(tmp_path, sampler=sampler)
    searched = [t for t in list_standing(study.trials) if read_purpose(t) == "search"]
    limits = [read_budget(trial) for trial in searched]
    assert len(limits) >= 5
    assert limits == [(None, 450, 300)[place % 3] for place in range(len(limits))]
    for trial, limit in zip(searched, limits, strict=True):
        assert study.space.fits_budget(trial.params, limit)


def test_every_budget_has_a_baseline_that_is_trained_once_more_for_the_verdict(
    tmp_path: Path,
) -> None:
    study = run(tmp_path)
    trials = list_standing(study.trials)
    assert len(trials) <= 44
    baselines = [t for t in trials if read_purpose(t) == "baseline"]
    assert [read_rival(t) for t in baselines] == ["baseline", "baseline-450", "baseline-300"]
    for trial, budget in zip(baselines, (LARGEST, 450, 300), strict=True):
        assert trial.params == make_baseline_params(study.space, budget)
        assert study.space.fits_budget(trial.params, budget)
    proving = [t for t in trials if read_purpose(t) == "verdict"]
    for selection in study.select_front():
        for choice in (selection.best, *selection.opponents.values()):
            seeds = {read_seed(t) for t in proving if t.params == choice.allocation.params}
            assert seeds == {8, 9, 10}


def test_the_race_gives_further_seeds_within_every_budget(tmp_path: Path) -> None:
    study = run(tmp_path)
    raced = [t for t in list_standing(study.trials) if read_purpose(t) == "race"]
    sizes = sorted(study.space.num_parameters(t.params) for t in raced)
    assert sizes[0] <= 300
    assert sizes[-1] > 450


def test_the_choice_of_every_budget_is_within_it(tmp_path: Path) -> None:
    study = run(tmp_path)
    front = study.select_front()
    assert [selection.budget for selection in front] == [*BUDGETS, LARGEST]
    for selection in front:
        assert study.space.fits_budget(selection.best.allocation.params, selection.budget)
        assert selection.baseline is not None
    # What fits a smaller budget fits a larger one, so up to a tie more is never worse.
    values = [selection.best.expected for selection in front]
    assert values[0] >= values[1] - 1e-3
    assert values[1] >= values[2] - 1e-3


def test_a_small_allocation_that_is_better_is_chosen_for_all_budgets(tmp_path: Path) -> None:
    def loss(job: Job) -> float:
        size = job.spec.shape.num_parameters(job.allocation.ranks)
        return 0.3 + 0.1 * (size > 300) + 0.001 * draw_luck(job)

    study = run(tmp_path, loss=loss, sampler="gp")
    sizes = {study.space.num_parameters(s.best.allocation.params) for s in study.select_front()}
    assert len(sizes) == 1
    assert max(sizes) <= 300


def test_budgets_with_the_same_uniform_ranks_share_a_baseline(tmp_path: Path) -> None:
    study = run(tmp_path, smaller_budgets=(LARGEST - 1,), trials=20)
    baselines = [t for t in list_standing(study.trials) if read_purpose(t) == "baseline"]
    assert [read_rival(t) for t in baselines] == ["baseline"]
    smaller, largest = study.select_front()
    assert smaller.baseline is not None
    assert largest.baseline is not None
    assert smaller.baseline.allocation.params == largest.baseline.allocation.params


def test_a_budget_that_nothing_fits_is_refused_before_anything_trains() -> None:
    with pytest.raises(BudgetError, match=r"^budget must be at least .*, got 5$"):
        build_space(read_space("tenslora_plus"), TINY, LARGEST, (5,))
