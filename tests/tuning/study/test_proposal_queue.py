"""A prior's proposals in a study: queued once, whatever happens in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial

from allocator.errors import StudyError, UnknownNameError
from allocator.files.recipe import Recipe, read_recipe
from allocator.files.study_folder import UNIFORM, TableName, baseline_folder, table_path
from allocator.files.tables import write_table
from allocator.files.yaml_files import write_yaml
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan, plan_search
from allocator.tuning.priors.baseline_evidence import Baseline
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import (
    is_baseline,
    list_standing,
    read_position,
    read_proposer,
    read_purpose,
    read_retried_trial,
)
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.proposal_queue import PROPOSALS
from allocator.tuning.study.study import SearchStudy
from tests.reports import make_report
from tests.tuning.studies import LONG, opened, start

MakeConfig = Callable[..., SearchConfig]
MODES = ("input", "head_dim", "heads", "qkv", "depth")


def measure(study: SearchStudy, baseline: Baseline) -> None:
    """Leave what a trained baseline leaves."""
    folder = baseline_folder(study.folder)
    tables: dict[TableName, pd.DataFrame] = {
        "modes": baseline.modes,
        "gradients": baseline.gradients,
        "truncation": baseline.truncation,
    }
    for name, table in tables.items():
        write_table(table_path(folder, name), table.assign(name=UNIFORM, seed=0))


def proposers(trials: Sequence[FrozenTrial]) -> list[str | None]:
    return [read_proposer(trial) for trial in trials]


def search(
    plan: Plan[StudyConfig],
    make_baseline: Callable[..., Baseline],
    trials: int,
    *,
    reopened: bool = False,
) -> list[FrozenTrial]:
    """Start and end one trial after the other, in one go or each with the study opened anew."""

    def proceed(study: SearchStudy) -> None:
        trial = start(study)
        if is_baseline(trial):
            measure(study, make_baseline(plan.space, losses={"input": [0.9, 0.7, 0.5, 0.5]}))
        study.tell(make_report(trial.number, 0.1 + 0.01 * read_position(trial)))

    if reopened:
        for _ in range(trials):
            with opened(plan) as study:
                proceed(study)
                standing = list_standing(study.trials)
        return standing
    with opened(plan) as study:
        for _ in range(trials):
            proceed(study)
        return list_standing(study.trials)


def measured(study: SearchStudy, make_baseline: Callable[..., Baseline]) -> list[FrozenTrial]:
    """Let the round of the baseline end, and return its trials."""
    first = [start(study) for _ in range(study.num_startable)]
    measure(study, make_baseline(study.space, effective_rank={"input": 3.0}))
    for trial in first:
        study.tell(make_report(trial.number, 0.5))
    return first


def test_after_the_round_of_the_baseline_come_the_priors_proposals(
    make_config: MakeConfig, make_baseline: Callable[..., Baseline]
) -> None:
    plan = plan_search(make_config(sampler="random"))
    trials = search(plan, make_baseline, 2 + PROPOSALS + 2)[: 2 + PROPOSALS + 2]
    expected = [None, "uniform", *["truncation"] * PROPOSALS, None, None]
    assert proposers(trials) == expected
    assert [read_purpose(trial) for trial in trials] == [
        "baseline",
        *["proposal"] * (1 + PROPOSALS),
        *["search"] * 2,
    ]
    assert len({tuple(t.params.values()) for t in trials}) == len(trials)


def test_a_study_opened_anew_for_every_trial_is_the_same_study(
    make_config: MakeConfig, make_baseline: Callable[..., Baseline], tmp_path: Path
) -> None:
    whole, pieces = (
        search(
            plan_search(make_config(studies_dir=tmp_path / name, sampler="random")),
            make_baseline,
            5 + PROPOSALS + 2,
            reopened=name == "pieces",
        )
        for name in ("whole", "pieces")
    )
    assert [t.params for t in whole] == [t.params for t in pieces]
    assert proposers(whole) == proposers(pieces)


def test_beside_the_baseline_train_its_ranks_at_another_lambda_and_nothing_else(
    make_config: MakeConfig,
) -> None:
    plan = plan_search(make_config())
    with opened(plan) as study:
        baseline, other = [start(study) for _ in range(study.num_startable)]
    assert proposers([other]) == ["uniform"]
    assert study.space.read_ranks(other.params) == study.space.read_ranks(baseline.params)
    assert other.params["core_lr_multiplier"] != baseline.params["core_lr_multiplier"]


@pytest.mark.parametrize("prior", ["none", "uniform"])
def test_a_prior_that_needs_no_baseline_fills_the_first_round(
    prior: str, make_config: MakeConfig
) -> None:
    with opened(plan_search(make_config(prior=prior))) as study:
        trials = [start(study) for _ in range(study.num_startable)]
    proposed = PROPOSALS if prior == "uniform" else 0
    others = LONG.places - 1 - proposed
    assert proposers(trials) == [None, *["uniform"] * proposed, *[None] * others]


def test_a_kill_between_two_proposals_loses_and_doubles_none(
    make_config: MakeConfig,
    make_baseline: Callable[..., Baseline],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_search(make_config(sampler="random"))
    enqueue = optuna.Study.enqueue_trial
    queued: list[dict[str, float]] = []

    def dies_after_two(study: optuna.Study, params: dict[str, float], **given: object) -> None:
        if len(queued) == 2:
            raise KeyboardInterrupt
        queued.append(params)
        enqueue(study, params, **given)  # type: ignore[arg-type]  # passed on as it came

    with opened(plan) as study:
        measured(study, make_baseline)
        monkeypatch.setattr(optuna.Study, "enqueue_trial", dies_after_two)
        with pytest.raises(KeyboardInterrupt):
            start(study)
        monkeypatch.undo()
    with opened(plan) as again:
        started = [start(again) for _ in range(PROPOSALS + 1)]
    assert proposers(started) == [*["truncation"] * PROPOSALS, None]
    assert len({tuple(t.params.values()) for t in started}) == PROPOSALS + 1


def test_a_proposal_that_was_broken_off_is_tried_again_under_its_name(
    make_config: MakeConfig, make_baseline: Callable[..., Baseline]
) -> None:
    plan = plan_search(make_config(sampler="random"))
    with opened(plan) as study:
        measured(study, make_baseline)
        lost = start(study)
    with opened(plan) as again:
        started = [start(again) for _ in range(PROPOSALS + 1)]
    retried = next(t for t in started if read_retried_trial(t) == lost.number)
    assert retried.params == lost.params
    assert proposers(started) == [*["truncation"] * PROPOSALS, None]


def test_the_sampler_of_a_resumed_study_has_the_same_prior(
    make_config: MakeConfig, make_baseline: Callable[..., Baseline]
) -> None:
    plan = plan_search(make_config(prior="entropy", prior_strength=7.0))
    priors = []
    for trials in (10, 20):  # a larger total makes the round that was left larger
        with opened(plan, goal=Goal(trials=trials, verdict_seeds=0)) as study:
            if not study.trials:
                measured(study, make_baseline)
            assert study.num_startable
            sampler = study.study.sampler
            assert isinstance(sampler, FeasibleGPSampler)
            assert sampler.prior_strength == 7.0
            priors.append(sampler.prior)
    assert priors[0] is not None
    assert priors[0] == priors[1]


def test_a_baseline_without_tables_leaves_the_uniform_prior_and_says_so(
    make_config: MakeConfig,
) -> None:
    with opened(plan_search(make_config(sampler="random"))) as study:
        for trial in [start(study) for _ in range(study.num_startable)]:
            study.tell(make_report(trial.number, 0.0, "diverged"))
        assert read_proposer(start(study)) == "uniform"
        recorded = study.study.user_attrs["prior"]
    assert recorded["used"] == "uniform"


def recipe_of(plan: Plan[StudyConfig], path: Path, **ranks: int) -> Path:
    """Write a recipe of the study's own space."""
    study = plan.recorded
    given = {**dict.fromkeys(MODES, 2), **ranks}
    recipe = Recipe.model_validate(
        {
            "budget": 600,
            "num_parameters": 100,
            "model": study.model,
            "task": study.task,
            "adapter": {
                "construction": "att_qkv_depth",
                "factorization": "tucker",
                "ranks": given,
                "targets": plan.space.shape.backbone.targets,
                "scaling": 4.0,
                "initialization": "orthogonal",
            },
            "training": {
                "learning_rate": 3e-3,
                "core_lr_multiplier": 5.0,
                "head_learning_rate": 1e-3,
                "weight_decay": 0.01,
                "max_grad_norm": 1.0,
                "warmup": 0.1,
                "epochs": 2,
                "batch_size": 32,
                "boundaries_per_epoch": 1,
                "dropout": 0.0,
                "max_length": 128,
                "precision": "float32",
                "seed": 0,
            },
        }
    )
    write_yaml(path, recipe, "A guess.")
    return path


def test_a_users_recipe_is_tried_right_after_the_baseline(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    path = recipe_of(plan_search(make_config()), tmp_path / "mine.yaml")
    plan = plan_search(make_config(start=(path,)))
    with opened(plan) as study:
        _, own, other = (start(study) for _ in range(3))
    assert read_proposer(own) == "start"
    # The space leaves these two to the training configuration.
    given = dataclasses.replace(
        read_recipe(path).make_allocation(), head_learning_rate=None, dropout=None
    )
    assert study.space.make_allocation(own.params) == given
    assert read_proposer(other) == "uniform"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("input: 2", "input: 16", r"ranks input 16, .* must fit the budget of 600 parameters, got"),
        ("input: 2", "input: 40", r"ranks input 40, .* must fit the budget of 600"),
        ("depth: 2", "depth: 3", r"rank_depth must be between 1 and 2 in this space, got 3"),
        ("input: 2", "output: 2", r"ranks of att_qkv_depth \(tucker\) must be given for input"),
        ("learning_rate: 0.003", "learning_rate: 0.5", r"learning_rate must be between 0.0001 and"),
        ("tucker", "cp", r"its adapter must be one of the space's \(att_qkv_depth tucker\), got"),
        ("- value", "- output", r"its targets must be query, key, value as in this space, got"),
    ],
)
def test_a_recipe_that_does_not_fit_gets_one_line_with_the_rule(
    old: str, new: str, message: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    path = recipe_of(plan_search(make_config()), tmp_path / "mine.yaml")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(StudyError, match=rf"--start .*mine\.yaml: {message}") as caught:
        plan_search(make_config(start=(path,)))
    assert "\n" not in str(caught.value)


def test_another_study_proposes_what_it_found_best(
    make_config: MakeConfig, make_baseline: Callable[..., Baseline]
) -> None:
    first = plan_search(make_config(study="first", sampler="random"))
    tried = [t.params for t in search(first, make_baseline, 8)]
    second = plan_search(
        make_config(study="second", prior="study:first", budget=900, sampler="random")
    )
    with opened(second) as study:
        _, *started = [start(study) for _ in range(PROPOSALS + 1)]
    assert proposers(started) == ["study:first"] * PROPOSALS
    # Losses fell from trial to trial, so the last ones are expected to be the best.
    places = [tried.index(t.params) for t in started]
    assert sum(places) / len(places) > sum(range(8)) / 8


def test_a_study_that_cannot_be_a_prior_says_why(
    make_config: MakeConfig, make_baseline: Callable[..., Baseline]
) -> None:
    with pytest.raises(UnknownNameError, match="unknown study 'frist'"):
        plan_search(make_config(prior="study:frist"))
    first = plan_search(make_config(study="first"))
    search(first, make_baseline, 2, reopened=False)
    with pytest.raises(StudyError, match="no completed trial of it lies in this space; of the"):
        plan_search(make_config(study="second", prior="study:first", space="lora", budget=10_000))
    with pytest.raises(UnknownNameError, match="unknown prior 'entropi': did you mean 'entropy'"):
        plan_search(make_config(prior="entropi"))


def test_a_study_is_resumed_with_its_own_prior_alone(make_config: MakeConfig) -> None:
    with opened(plan_search(make_config())):
        pass
    with (
        pytest.raises(StudyError, match="was made with prior 'truncation', got 'entropy'"),
        opened(plan_search(make_config(prior="entropy"))),
    ):
        pass
