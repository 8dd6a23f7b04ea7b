"""Samplers: all that each suggests is feasible, new, and the same from the same seed."""

from __future__ import annotations

from typing import get_args

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, Trial, TrialState

from allocator.allocation.constructions import BackboneShape
from allocator.tuning.names import SamplerName
from allocator.tuning.samplers.feasible_sampler import ask_trial
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.samplers.make_sampler import make_sampler
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Space
from allocator.tuning.space.space_file import Range, SpaceFile, read_space
from allocator.tuning.storage.trial_memory import Purpose, make_attributes, write_failure

BACKBONE = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
SMALL = BackboneShape(d_in=32, heads=4, head_size=8, layers=2)
BUDGETS = {
    "tenslora_plus": (900, 60_000),
    "tenslora_qkv": (20_000, 400_000),
    "lora_plus": (56_000, 900_000),
    "lora": (56_000, 900_000),
    "lorta": (1_000, 40_000),
    "lotr": (2_000, 200_000),
    "tt": (1_000, 60_000),
    "constructions": (3_000, 200_000),
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space(read_space("tenslora_plus"), BACKBONE, 40_000)


def new_study(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=sampler)


def score(space: Space, trial: Trial) -> float:
    ranks = np.log2(list(space.read_ranks(trial.params).values())).sum()
    rate = np.log(space.make_allocation(trial.params).learning_rate / 1e-3)
    return float(0.5 + 0.01 * ranks - 0.02 * rate**2)


def proceed(study: optuna.Study, space: Space, trials: int) -> list[dict[str, float]]:
    asked = []
    for _ in range(trials):
        trial = ask_trial(study, space)
        study.tell(trial, score(space, trial))
        asked.append(trial.params)
    return asked


def is_feasible(space: Space, params: dict[str, float]) -> bool:
    return bool(space.feasible.is_feasible(np.array([space.params_to_row(params)]))[0])


@pytest.mark.parametrize("name", get_args(SamplerName))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_suggestion_is_feasible(name: SamplerName, data: st.DataObject) -> None:
    preset = data.draw(st.sampled_from(sorted(BUDGETS)))
    budget = data.draw(st.integers(*BUDGETS[preset]))
    seed = data.draw(st.integers(0, 2**32))
    space = build_space(read_space(preset), BACKBONE, budget)
    study = new_study(make_sampler(name, space, seed=seed, final_step=1))
    for params in proceed(study, space, 12):
        assert is_feasible(space, params)
        assert space.num_parameters(params) <= budget


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_distributions_are_those_of_the_space_from_the_first_trial(
    name: SamplerName, space: Space
) -> None:
    study = new_study(make_sampler(name, space, seed=0, final_step=1))
    proceed(study, space, 12)
    assert all(trial.distributions == space.distributions for trial in study.trials)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_a_resumed_study_goes_on_as_if_it_had_not_stopped(name: SamplerName, space: Space) -> None:
    whole = new_study(make_sampler(name, space, seed=3, final_step=1))
    expected = proceed(whole, space, 13)
    resumed = new_study(make_sampler(name, space, seed=3, final_step=1))
    begun = proceed(resumed, space, 10)
    resumed.sampler = make_sampler(name, space, seed=3, final_step=1)
    assert begun + proceed(resumed, space, 3) == expected


def decided(study: optuna.Study, position: int, purpose: Purpose = "search") -> FrozenTrial:
    """Copy one of a study's trials, with the attributes of a training that was decided on."""
    trial = study.trials[position]
    trial.user_attrs = make_attributes(seed=0, purpose=purpose, round_=0, position=position)
    return trial


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_suggestions_depend_on_the_order_of_decisions_and_on_no_verdict(
    name: SamplerName, space: Space
) -> None:
    seen = new_study(make_sampler("random", space, seed=3, final_step=1))
    proceed(seen, space, 16)
    plain, interrupted, proved = (
        new_study(make_sampler(name, space, seed=3, final_step=1)) for _ in range(3)
    )
    plain.add_trials([decided(seen, i) for i in range(14)])
    interrupted.add_trials([decided(seen, i) for i in (*range(8), 10, 8, 9, 13, 11, 12)])
    proved.add_trials([decided(seen, i) for i in range(14)])
    proved.add_trials([decided(seen, i, "verdict") for i in (14, 15)])
    expected = ask_trial(plain, space).params
    assert ask_trial(interrupted, space).params == expected
    assert ask_trial(proved, space).params == expected


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_another_seed_gives_other_suggestions(name: SamplerName, space: Space) -> None:
    first, second = (
        proceed(new_study(make_sampler(name, space, seed=s, final_step=1)), space, 2)
        for s in (0, 1)
    )
    assert first != second


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_sampling_leaves_the_global_random_state_alone(name: SamplerName, space: Space) -> None:
    before = np.random.get_state(legacy=False)
    proceed(new_study(make_sampler(name, space, seed=0, final_step=1)), space, 11)
    after = np.random.get_state(legacy=False)
    np.testing.assert_equal(before, after)


@pytest.mark.parametrize("finished", [0, 10])
def test_trials_asked_for_together_differ(finished: int, space: Space) -> None:
    study = new_study(make_sampler("gp", space, seed=0, final_step=1))
    proceed(study, space, finished)
    batch = [ask_trial(study, space).params for _ in range(5)]
    points = np.log([[float(v) for v in params.values()] for params in batch])
    distances = np.abs(points[:, None] - points[None]).sum(axis=2)
    assert np.all(distances[~np.eye(5, dtype=bool)] > 0.1)


def test_no_point_is_suggested_twice_while_others_are_left() -> None:
    file = SpaceFile(
        construction="matrix",
        factorization="matrix",
        parameters={
            "rank": Range(low=1, high=6),
            "learning_rate": 1e-3,
            "core_lr_multiplier": 1.0,
        },
    )
    space = build_space(file, SMALL, 6 * 6 * 64)
    study = new_study(make_sampler("gp", space, seed=0, final_step=1))
    asked = proceed(study, space, 8)
    assert sorted(params["rank"] for params in asked[:6]) == [1, 2, 3, 4, 5, 6]
    assert all(is_feasible(space, params) for params in asked[6:])


@pytest.mark.parametrize("given_up", [True, False])
def test_what_was_given_up_is_not_suggested_again_and_what_was_lost_is(given_up: bool) -> None:
    file = SpaceFile(
        construction="matrix",
        factorization="matrix",
        parameters={"rank": Range(low=1, high=2), "learning_rate": 1e-3, "core_lr_multiplier": 1.0},
    )
    space = build_space(file, SMALL, 2 * 6 * 64)
    study = new_study(make_sampler("gp", space, seed=0, final_step=1))
    first = ask_trial(study, space)
    write_failure(first, "worker on cpu died", is_given_up=given_up)
    study.tell(first, state=TrialState.FAIL)
    assert (ask_trial(study, space).params == first.params) is not given_up


@pytest.mark.parametrize("name", get_args(SamplerName))
@pytest.mark.parametrize("preset", ["lora", "lora_plus"])
def test_a_budget_with_one_choice_of_ranks_still_searches_the_rates(
    name: SamplerName, preset: str
) -> None:
    space = build_space(read_space(preset), BACKBONE, 60_000)
    assert space.feasible.size == 1
    asked = proceed(new_study(make_sampler(name, space, seed=0, final_step=1)), space, 12)
    assert {params["rank"] for params in asked} == {1}
    assert len({params["learning_rate"] for params in asked}) == 12


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_a_feasible_set_too_large_to_list_is_searched(name: SamplerName) -> None:
    ranks = {f"bond_{i}": Range(low=1, high=100) for i in range(1, 5)}
    file = SpaceFile(construction="att_qkv_depth", factorization="tt", parameters=dict(ranks))
    space = build_space(file, BACKBONE, 600_000)
    assert space.feasible.points is None
    asked = proceed(new_study(make_sampler(name, space, seed=0, final_step=1)), space, 12)
    assert all(is_feasible(space, params) for params in asked)


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_enqueued_values_are_kept_and_the_rest_stays_feasible(
    name: SamplerName, space: Space
) -> None:
    study = new_study(make_sampler(name, space, seed=0, final_step=1))
    proceed(study, space, 11)
    whole = study.trials[0].params | {"learning_rate": 2e-3}
    study.enqueue_trial(whole)
    study.enqueue_trial({"rank_input": 24, "learning_rate": 5e-3})
    study.enqueue_trial({"learning_rate": 6e-3})
    first, second, third = proceed(study, space, 3)
    assert first == whole
    assert (second["rank_input"], second["learning_rate"]) == (24, 5e-3)
    assert third["learning_rate"] == 6e-3
    assert is_feasible(space, second)
    assert is_feasible(space, third)


def test_pruned_trials_change_what_is_suggested(space: Space) -> None:
    suggestions = []
    for last in (0.1, 0.6):
        study = new_study(make_sampler("gp", space, seed=0, final_step=3))
        proceed(study, space, 8)
        for _ in range(3):
            trial = study.ask()  # no sampler: both studies see the same points
            params = study.trials[trial.number % 8].params | {"learning_rate": 4e-4}
            study.tell(trial, state=TrialState.FAIL)
            study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.PRUNED,
                    params=params,
                    distributions=dict(space.distributions),
                    intermediate_values={1: last},
                )
            )
        suggestions.append(ask_trial(study, space).params)
    assert suggestions[0] != suggestions[1]


def test_a_study_that_minimises_looks_for_low_values(space: Space) -> None:
    study = optuna.create_study(
        direction="minimize", sampler=make_sampler("gp", space, seed=0, final_step=1)
    )
    for _ in range(16):
        trial = ask_trial(study, space)
        study.tell(trial, -score(space, trial))
    late = np.mean([t.value for t in study.trials[10:] if t.value is not None])
    early = np.mean([t.value for t in study.trials[:8] if t.value is not None])
    assert late < early


def test_start_up_trials_spread_over_the_rates(space: Space) -> None:
    study = new_study(FeasibleGPSampler(space, seed=0, n_startup_trials=8))
    rates = np.sort([np.log10(params["learning_rate"]) for params in proceed(study, space, 8)])
    assert np.diff(rates).max() < 0.6  # of two decades


def test_a_parameter_that_the_space_lacks_is_refused(space: Space) -> None:
    trial = new_study(make_sampler("gp", space, seed=0, final_step=1)).ask()
    with pytest.raises(ValueError, match=r"dropout .* must be one of the space's: rank_input"):
        trial.suggest_float("dropout", 0.0, 0.5)
