"""A study beside its rivals: when they train, and what becomes of a rival that wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.training.messages import Job
from allocator.tuning.evidence.choice import Selection
from allocator.tuning.space.space import RIVAL
from allocator.tuning.storage.trial_memory import (
    BASELINE,
    list_standing,
    read_purpose,
    read_rival,
    read_round,
    read_seed,
)
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.study import SearchStudy
from tests.tuning.scripted import Script, draw_luck, smooth_loss


def is_lora(job: Job) -> bool:
    return job.spec.shape.construction == "matrix"


def run(folder: Path, **options: object) -> tuple[SearchStudy, Selection]:
    script = Script(folder=folder, **{"trials": 40, "rivals": ("lora", "cp"), **options})  # type: ignore[arg-type]
    study = script.run()
    return study, study.select()


def test_every_rival_trains_at_several_rates_and_once_more_with_the_verdicts_seeds(
    tmp_path: Path,
) -> None:
    study, selection = run(tmp_path)
    trials = list_standing(study.trials)
    assert len(trials) == 40
    tried = [t for t in trials if read_purpose(t) == "rival"]
    assert sorted(str(t.params[RIVAL]) for t in tried) == ["cp"] * 3 + ["lora"] * 3
    assert {read_seed(t) for t in tried} == {0}
    assert {read_round(t) for t in tried} <= {0, 1}
    assert len({t.params["learning_rate"] for t in tried}) == 3
    proving = [(read_rival(t), read_seed(t)) for t in trials if read_purpose(t) == "verdict"]
    assert sorted(proving, key=str) == sorted(
        [(name, seed) for name in (None, BASELINE, "lora", "cp") for seed in (8, 9, 10)], key=str
    )
    assert next(iter(selection.opponents)) == BASELINE
    assert set(selection.opponents) == {BASELINE, "lora", "cp"}


def test_what_is_searched_is_as_much_as_without_rivals(tmp_path: Path) -> None:
    def count(study: SearchStudy) -> int:
        own = study.space.without_rivals
        searched = (t for t in study.trials if read_purpose(t) != "verdict")
        return len({str(t.params) for t in searched if own.has_all_params(t.params)})

    alone, _ = run(tmp_path / "alone", trials=28, rivals=())
    beside, _ = run(tmp_path / "beside")
    assert count(beside) == count(alone)


def test_a_rival_that_is_better_is_raced_and_chosen(tmp_path: Path) -> None:
    def loss(job: Job) -> float:
        return 0.3 + 0.002 * draw_luck(job) if is_lora(job) else smooth_loss(job)

    study, selection = run(tmp_path, loss=loss)
    assert selection.best.allocation.rival == "lora"
    assert set(selection.opponents) == {BASELINE, "cp"}
    raced = [t for t in study.trials if read_purpose(t) == "race" and read_rival(t) == "lora"]
    assert len(raced) >= 2


def test_a_rival_over_the_budget_is_compared_and_never_raced_or_chosen(tmp_path: Path) -> None:
    def loss(job: Job) -> float:
        return 0.3 + 0.002 * draw_luck(job) if is_lora(job) else smooth_loss(job)

    study, selection = run(tmp_path, loss=loss, rivals=("lora:8",))
    assert selection.best.allocation.rival is None
    assert not study.space.fits_budget(selection.opponents["lora:8"].allocation.params)
    assert not [t for t in study.trials if read_purpose(t) == "race" and read_rival(t) == "lora:8"]


def test_a_rival_that_collapses_is_left_out(tmp_path: Path) -> None:
    _, selection = run(tmp_path, loss=lambda job: None if is_lora(job) else smooth_loss(job))
    assert set(selection.opponents) == {BASELINE, "cp"}


@pytest.mark.parametrize("rivals", [1, 2, 3])
@pytest.mark.parametrize("trials", [*range(1, 60, 3)])
def test_rivals_take_a_third_of_a_search_at_most(trials: int, rivals: int) -> None:
    goal = Goal(trials=trials, verdict_seeds=3, rivals=rivals)
    assert 0 <= goal.num_rates * rivals <= goal.num_search / 3
    # A search that is too small to try rivals proves nothing against them.
    tried = rivals if goal.num_rates else 0
    assert 2 * (2 + tried) * goal.num_verdict_seeds <= trials
    assert goal.num_search >= trials / 2


def test_by_default_rivals_come_on_top() -> None:
    with_two = Goal.choose(None, 3, rivals=2, budgets=1, kind="cpu", devices=1)
    alone = Goal.choose(None, 3, rivals=0, budgets=1, kind="cpu", devices=1)
    assert (alone.trials, with_two.trials) == (28, 40)
    assert with_two.num_allocations == alone.num_allocations


def test_a_search_too_small_for_rivals_keeps_no_trainings_for_them(tmp_path: Path) -> None:
    study, selection = run(tmp_path, trials=8)
    trials = list_standing(study.trials)
    assert not any(read_purpose(trial) == "rival" for trial in trials)
    assert len(trials) == 8 or selection.is_baseline
    assert set(selection.compared) == {BASELINE}
