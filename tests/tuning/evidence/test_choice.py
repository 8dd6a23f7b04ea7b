"""The race and the choice, from what is expected of allocations."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.trial import TrialState, create_trial

from allocator.errors import StudyError
from allocator.tuning.evidence.allocations import TriedAllocation, list_allocations
from allocator.tuning.evidence.choice import select_best
from allocator.tuning.evidence.expectations import Expectations, compute_expectations
from allocator.tuning.evidence.race import SEARCH_SEEDS, choose_contenders
from allocator.tuning.space.space import Params, Space, make_baseline_params
from allocator.tuning.storage.objective import Objective
from allocator.tuning.storage.trial_memory import BASELINE, Purpose, make_attributes
from tests.tuning.scripted import make_space

OBJECTIVE = Objective(name="calibrated loss", decide_by="loss")


def expect(mean: list[float], sd: list[float], noise: float = 0.01) -> Expectations:
    """Make independent expectations of allocations that nobody asks about."""
    return Expectations(
        allocations=tuple(TriedAllocation(params={"p": i}, trials=()) for i in range(len(mean))),
        mean=np.array(mean),
        covariance=np.diag(np.square(sd)),
        noise=noise,
        sign=-1.0,
    )


def test_of_the_leader_and_its_likeliest_challenger_the_less_certain_is_trained() -> None:
    of_challenger = expect([1.0, 0.9, 0.2], [0.1, 0.2, 0.2])
    assert choose_contenders(of_challenger, 1, num_seeds=[1, 1, 1]) == [1]
    of_leader = expect([1.0, 0.9, 0.2], [0.2, 0.1, 0.2])
    assert choose_contenders(of_leader, 1, num_seeds=[1, 1, 1]) == [0]


def test_what_was_chosen_counts_as_measured() -> None:
    chosen = choose_contenders(expect([1.0, 0.98], [0.2, 0.21]), 4, num_seeds=[1, 1])
    assert sorted(chosen) == [0, 0, 1, 1]


def test_no_allocation_is_trained_with_more_seeds_than_there_are() -> None:
    full = [SEARCH_SEEDS, SEARCH_SEEDS - 1]
    assert choose_contenders(expect([1.0, 0.9], [0.2, 0.2]), 5, num_seeds=full) == [1]
    assert choose_contenders(expect([1.0], [0.2]), 3, num_seeds=[SEARCH_SEEDS - 2]) == [0, 0]


@pytest.fixture(scope="module")
def space() -> Space:
    return make_space()[1]


def make_trial(  # type: ignore[no-untyped-def]
    space: Space,
    params: Params,
    loss: float,
    *,
    seed: int = 0,
    purpose: Purpose = "search",
    ending: str = "completed",
    rival: str | None = None,
    number: int = 0,
):
    attributes = make_attributes(seed=seed, purpose=purpose, round_=0, position=number, rival=rival)
    return create_trial(
        params=dict(params),
        distributions=dict(space.distributions),
        value=loss,
        state=TrialState.COMPLETE,
        user_attrs={**attributes, "ending": ending},
    )


def vary(space: Space, rate: float, **changes: float) -> Params:
    return {**make_baseline_params(space), "learning_rate": rate, **changes}


def choose(space: Space, trials: list) -> Params:  # type: ignore[type-arg]
    expectations = compute_expectations(space, trials, final_step=1, objective=OBJECTIVE)
    return select_best(space, expectations).best.allocation.params


def test_several_seeds_outweigh_one_lucky_one(space: Space) -> None:
    good, lucky = vary(space, 2e-3), vary(space, 1e-4)
    trials = [make_trial(space, good, 0.50, seed=seed) for seed in range(5)]
    trials += [make_trial(space, lucky, 0.49, seed=0)]
    trials += [make_trial(space, lucky, 0.56, seed=seed) for seed in (1, 2)]
    assert choose(space, trials) == good


def test_of_equals_the_one_with_fewer_parameters_is_chosen(space: Space) -> None:
    small, large = vary(space, 1e-3, rank_input=1), vary(space, 1e-3)
    assert space.num_parameters(small) < space.num_parameters(large)
    trials = [make_trial(space, params, 0.5) for params in (large, small)]
    assert choose(space, trials) == small


def test_an_allocation_of_which_a_training_collapsed_is_not_chosen(space: Space) -> None:
    safe, wild = vary(space, 1e-3), vary(space, 9e-3)
    trials = [
        make_trial(space, safe, 0.55),
        make_trial(space, wild, 0.40),
        make_trial(space, wild, 0.70, seed=1, ending="collapsed"),
    ]
    assert choose(space, trials) == safe


def test_trainings_of_the_verdict_do_not_change_the_choice(space: Space) -> None:
    first, second = vary(space, 1e-3), vary(space, 3e-3)
    trials = [make_trial(space, first, 0.50), make_trial(space, second, 0.52)]
    proving = [make_trial(space, second, 0.10, seed=seed, purpose="verdict") for seed in (8, 9)]
    assert choose(space, trials + proving) == choose(space, trials) == first


def test_nothing_to_choose_from_is_said(space: Space) -> None:
    trials = [make_trial(space, vary(space, 9e-3), 0.7, ending="diverged")]
    with pytest.raises(StudyError, match="no trial of 1 was completed, so there is nothing"):
        choose(space, trials)


def test_the_baseline_is_known_by_its_name(space: Space) -> None:
    trials = [
        make_trial(space, make_baseline_params(space), 0.6, rival=BASELINE),
        make_trial(space, vary(space, 2e-3), 0.5, number=1),
    ]
    assert [a.is_baseline for a in list_allocations(space, trials)] == [True, False]
    expectations = compute_expectations(space, trials, final_step=1, objective=OBJECTIVE)
    selection = select_best(space, expectations)
    assert selection.baseline is not None
    assert selection.baseline.expected > selection.best.expected
