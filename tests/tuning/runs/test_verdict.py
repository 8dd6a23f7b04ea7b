"""The end of a whole search on a tiny model: verdict, dev, and what is delivered."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from optuna.study import StudyDirection
from rich.console import Console
from scipy import stats

from allocator.data.scoring.metrics import Score
from allocator.files.recipe import read_recipe
from allocator.files.study_folder import RECIPE_FILE, TRIALS_FILE
from allocator.progress.run_progress import RunProgress
from allocator.training.evaluation import Answers
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan, plan_search
from allocator.tuning.runs import score_verdict as scoring
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import read_purpose
from allocator.tuning.study.open_study import load_study
from allocator.tuning.study.verdict import judge_loss, judge_metric

MakeConfig = Callable[..., SearchConfig]


def search(config: SearchConfig) -> tuple[str, Plan[StudyConfig]]:
    plan = plan_search(config)
    printed = io.StringIO()
    run_search(config, plan, RunProgress(Console(file=printed, width=200)))
    return printed.getvalue(), plan


def test_a_search_proves_its_choice_and_scores_dev_once(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(trials=12, verdict_seeds=2)
    text, plan = search(config)
    table = pd.read_csv(plan.folder / TRIALS_FILE)
    assert len(table) <= 12
    with load_study(plan.folder, None) as study:
        assert study.study.direction == StudyDirection.MINIMIZE
        assert study.study.metric_names == ["calibrated loss"]
        assert not study.select().best.allocation.is_baseline
    recipe = read_recipe(plan.folder / RECIPE_FILE)
    assert recipe.study["adapter"] == "trained on all of train"
    proving = table[table.user_attrs_purpose == "verdict"]
    assert sorted(proving.user_attrs_seed) == [8, 8, 9, 9]
    assert "mean of 2 new seeds" in text
    assert recipe.scores["verdict_baseline"] in ("better", "worse", "not distinguishable")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("dev was scored again")

    monkeypatch.setattr(scoring, "AdapterScorer", refuse)
    again, _ = search(config)
    assert "mean of 2 new seeds" in again


def test_a_verdict_of_more_seeds_is_scored_and_what_cannot_be_scored_costs_no_result(
    make_config: MakeConfig,
) -> None:
    text, plan = search(make_config(trials=12, verdict_seeds=2))
    assert "mean of 2 new seeds" in text
    more = make_config(trials=14, verdict_seeds=3)
    with load_study(plan.folder, None) as study:
        proving = [t for t in study.trials if read_purpose(t) == "verdict"]
        adapter = study.adapter_path(proving[0].number)
    content = adapter.read_bytes()
    adapter.unlink()
    text, _ = search(more)
    assert f"no verdict: {adapter}" in text
    assert "not proved" not in text.splitlines()[-1]
    adapter.write_bytes(content)
    text, _ = search(more)
    assert "mean of 3 new seeds" in text


def test_a_search_whose_time_is_up_delivers_a_seed_and_says_how_to_go_on(
    make_config: MakeConfig,
) -> None:
    config = make_config(trials=12, verdict_seeds=0, timeout=1)
    text, plan = search(config)
    assert "time is up" in text
    assert "to prove another choice" not in text
    recipe = read_recipe(plan.folder / RECIPE_FILE)
    assert "does not hold out" in str(recipe.study["adapter"])
    text, _ = search(config.model_copy(update={"timeout": None}))
    assert read_recipe(plan.folder / RECIPE_FILE).study["adapter"] == "trained on all of train"


def test_the_metric_decides_if_it_is_asked_to_and_the_study_is_marked(
    make_config: MakeConfig,
) -> None:
    text, plan = search(make_config(trials=3, verdict_seeds=0, decide_by="metric"))
    with load_study(plan.folder, None) as study:
        assert study.study.direction == StudyDirection.MAXIMIZE
        assert study.study.metric_names == ["matthews_correlation"]
    assert "decided by the metric" in text
    assert read_recipe(plan.folder / RECIPE_FILE).scores["decided_by"] == "matthews_correlation"


def answers(losses: list[float], predictions: list[int]) -> Answers:
    return Answers(
        losses=np.array(losses),
        predictions=np.array(predictions, dtype=float),
        score=Score(value=0.5, components={}),
    )


def test_equal_answers_are_not_told_apart() -> None:
    same = [answers([0.5, 0.4, 0.6], [0, 1, 1])] * 3
    loss = judge_loss(same, same, noise=None)
    metric = judge_metric(same, same, np.array([0, 1, 0]), "accuracy")
    assert loss.words == metric.words == "not distinguishable"
    assert loss.mean == loss.error == 0.0
    assert judge_loss(same[:1], same[:1], noise=None).choice_error is None


def test_a_choice_that_loses_less_on_every_example_is_better() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=200)
    baseline = [answers(rng.normal(0.6, 0.1, 200).tolist(), labels.tolist()) for _ in range(3)]
    choice = [answers((one.losses - 0.1).tolist(), labels.tolist()) for one in baseline]
    loss = judge_loss(choice, baseline, noise=None)
    metric = judge_metric(choice, baseline, labels, "accuracy")
    assert loss.words == "better"
    assert loss.high < 0
    assert loss.mean == pytest.approx(-0.1)
    of_seeds = [one.losses.mean() for one in baseline]
    assert loss.opponent == pytest.approx(np.mean(of_seeds))
    assert loss.opponent_error == pytest.approx(stats.sem(of_seeds))
    assert loss.choice_error == pytest.approx(loss.opponent_error)
    assert metric.words == "not distinguishable"
