"""The choice among allocations: by what is expected of them, not by the luckiest training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from allocator.allocation.constructions import BackboneShape
from allocator.errors import StudyError
from allocator.training.messages import Ending
from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.evidence.choice import (
    TIE,
    Selection,
    find_smallest,
    list_compared,
    select_best,
    select_front,
)
from allocator.tuning.evidence.expectations import Expectations, compute_expectations
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Params, Space
from allocator.tuning.space.space_file import read_space
from allocator.tuning.storage.objective import Objective
from allocator.tuning.storage.trial_memory import (
    BASELINE,
    Purpose,
    is_baseline,
    make_attributes,
    read_seed,
    write_ending,
)
from tests.reports import make_report

LOSS = Objective(name="calibrated loss", decide_by="loss")
METRIC = Objective(name="accuracy", decide_by="metric")


@pytest.fixture(scope="module")
def space() -> Space:
    backbone = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)
    return build_space(read_space("tenslora_plus"), backbone, 40_000)


def make_params(space: Space, rate: float = 1e-3, **ranks: int) -> Params:
    """Make parameters of uniform ranks, but for those that are given."""
    uniform = space.variants[0].feasible.find_uniform() | ranks
    names = {space.rank_parameters[name]: rank for name, rank in uniform.items()}
    return {**names, "core_lr_multiplier": 4.0, "learning_rate": rate}


def make_trial(
    space: Space,
    params: Params,
    value: float,
    *,
    ending: Ending = "completed",
    purpose: Purpose = "search",
    seed: int = 0,
    rival: str | None = None,
) -> FrozenTrial:
    """Make a training that has ended, with what a study remembers of it."""
    study = optuna.create_study()
    attributes = make_attributes(seed=seed, purpose=purpose, round_=0, position=0, rival=rival)
    study.enqueue_trial({}, user_attrs=attributes)
    trial = study.ask()
    write_ending(trial, make_report(0, 1 - value, ending))
    return create_trial(
        params=dict(params),
        distributions=dict(space.distributions),
        value=value,
        state=TrialState.COMPLETE,
        user_attrs=trial.user_attrs,
    )


def select(space: Space, trials: list[FrozenTrial], objective: Objective = LOSS) -> Selection:
    return select_best(
        space, compute_expectations(space, trials, final_step=3, objective=objective)
    )


def make_expectations(
    space: Space, params: Sequence[Params], mean: Sequence[float], variance: float
) -> Expectations:
    """Make expectations of allocations that tell nothing of each other."""
    return Expectations(
        allocations=tuple(
            TriedAllocation(params=p, trials=(make_trial(space, p, -m),))
            for p, m in zip(params, mean, strict=True)
        ),
        mean=np.array(mean),
        covariance=variance * np.eye(len(mean)),
        noise=variance,
        sign=-1.0,
    )


@pytest.mark.parametrize(("objective", "sign"), [(LOSS, -1.0), (METRIC, 1.0)])
def test_one_lucky_training_among_poor_neighbours_is_not_chosen(
    objective: Objective, sign: float, space: Space
) -> None:
    rng = np.random.default_rng(0)
    rates = np.geomspace(1e-4, 1e-2, 25)
    truth = [0.5 - 0.3 * math.log10(rate / 3e-3) ** 2 for rate in rates]
    values = [value + rng.normal(scale=0.03) for value in truth]
    lucky = 12  # the middle of the range, where 0.43 is expected
    values[lucky] = 0.57
    assert max(values) == values[lucky]
    trials = [
        make_trial(space, make_params(space, r), sign * v)
        for r, v in zip(rates.tolist(), values, strict=True)
    ]
    chosen = select(space, trials, objective).best
    assert float(chosen.allocation.params["learning_rate"]) > rates[lucky]
    assert sign * chosen.expected < 0.57


def test_of_two_that_are_as_good_the_smaller_is_chosen(space: Space) -> None:
    large, small = make_params(space), make_params(space, input=1)
    assert space.num_parameters(small) < space.num_parameters(large)
    deviation = math.sqrt(2 * 0.01)
    near, far = (
        make_expectations(space, [large, small], [-0.5, -0.5 - behind * deviation], 0.01)
        for behind in (0.9 * TIE, 1.1 * TIE)
    )
    assert select_best(space, near).best.allocation.params == small
    assert select_best(space, far).best.allocation.params == large


def test_of_several_as_small_the_better_is_chosen(space: Space) -> None:
    first, second = make_params(space, 1e-3), make_params(space, 2e-3)
    expectations = make_expectations(space, [first, second], [-0.501, -0.5], 0.01)
    assert select_best(space, expectations).best.allocation.params == second


def test_what_is_expected_is_told_as_a_value_of_the_objective(space: Space) -> None:
    expectations = make_expectations(space, [make_params(space)], [-0.5], 0.01)
    assert select_best(space, expectations).best.expected == 0.5


def test_all_trainings_of_an_allocation_count_for_it(space: Space) -> None:
    steady, lucky = make_params(space, 1e-3), make_params(space, 2e-3)
    trials = [
        *(make_trial(space, steady, 0.40, seed=seed) for seed in range(3)),
        *(make_trial(space, lucky, value, seed=i) for i, value in enumerate((0.38, 0.46, 0.46))),
    ]
    chosen = select(space, trials).best.allocation
    assert chosen.params == steady
    assert [read_seed(trial) for trial in chosen.completed] == [0, 1, 2]


@pytest.mark.parametrize("ending", ["diverged", "collapsed"])
def test_an_allocation_of_which_one_training_failed_is_not_chosen(
    ending: Ending, space: Space
) -> None:
    sound, unsound = make_params(space, 1e-3), make_params(space, 9e-3)
    trials = [
        make_trial(space, sound, 0.6),
        make_trial(space, unsound, 0.1),
        make_trial(space, unsound, 0.7, seed=1, ending=ending),
    ]
    assert select(space, trials).best.allocation.params == sound
    assert select(space, trials[:2]).best.allocation.params == unsound


def test_trainings_of_the_verdict_change_nothing(space: Space) -> None:
    first, second = make_params(space, 1e-3), make_params(space, 2e-3)
    searched = [make_trial(space, first, 0.4), make_trial(space, second, 0.5)]
    proving = [
        make_trial(space, first, 0.9, seed=8, purpose="verdict"),
        make_trial(space, second, 0.7, seed=8, purpose="verdict", ending="collapsed"),
    ]
    before, after = select(space, searched), select(space, searched + proving)
    assert (after.best, after.baseline) == (before.best, before.baseline)


def test_the_baseline_is_expected_to_have_a_value_too(space: Space) -> None:
    baseline = make_params(space, 1e-3)
    trials = [
        make_trial(space, baseline, 0.8, purpose="baseline", rival=BASELINE),
        *(make_trial(space, make_params(space, rate), 0.6) for rate in (2e-3, 3e-3, 4e-3)),
    ]
    selection = select(space, trials)
    assert selection.baseline is not None
    assert all(map(is_baseline, selection.baseline.allocation.trials))
    assert selection.baseline.expected > selection.best.expected


def test_a_baseline_that_collapsed_is_nothing_to_compare_with(space: Space) -> None:
    trials = [
        make_trial(
            space, make_params(space), 0.7, purpose="baseline", rival=BASELINE, ending="collapsed"
        ),
        make_trial(space, make_params(space, 2e-3), 0.6),
    ]
    assert select(space, trials).baseline is None


def test_nothing_to_choose_from_is_said(space: Space) -> None:
    trials = [make_trial(space, make_params(space, 9e-3), 0.7, ending="diverged")]
    with pytest.raises(StudyError, match="without a collapse in 1 trainings, so there is nothing"):
        select(space, trials)


def make_front_space() -> Space:
    backbone = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)
    return build_space(read_space("tenslora_plus"), backbone, 40_000, (10_000, 20_000))


@pytest.mark.parametrize(
    ("gap", "smallest"), [(0.4, "the small"), (0.6, "the large"), (-0.5, "the small")]
)
def test_the_smallest_choice_within_half_a_standard_error_is_found(
    gap: float, smallest: str
) -> None:
    space = make_front_space()
    large = make_params(space, input=32, head_dim=9, heads=5, qkv=3, depth=6)
    small = make_params(space, input=8, head_dim=4, heads=4, qkv=3, depth=4)
    assert space.num_parameters(large) > 20_000
    assert space.num_parameters(small) <= 10_000
    error = 0.01
    # The variance of the difference is twice that of each.
    expectations = make_expectations(
        space, [large, small], [-0.5, -0.5 - gap * error], error**2 / 2
    )
    front = select_front(space, expectations)
    assert [s.budget for s in front] == [10_000, 20_000, 40_000]
    found = find_smallest(space, expectations, front).best.allocation.params
    assert found == (small if smallest == "the small" else large)
    assert [a.params for a in list_compared(front)] == ([small, large] if gap > 0 else [small])


def test_a_choice_that_is_not_sound_any_more_is_not_the_smallest() -> None:
    space = make_front_space()
    large = make_params(space, input=32, head_dim=9, heads=5, qkv=3, depth=6)
    small = make_params(space, input=8, head_dim=4, heads=4, qkv=3, depth=4)
    expectations = make_expectations(space, [large, small], [-0.4, -0.41], 0.01)
    front = (
        select_best(space, expectations, 10_000),
        select_best(space, expectations.keep(lambda a: a.params == large)),
    )
    assert find_smallest(space, expectations, front) is front[0]
    for gone in (small, large):
        sound = expectations.keep(lambda a, gone=gone: a.params != gone)  # type: ignore[misc]
        assert find_smallest(space, sound, front) is front[1]


def test_trainings_of_the_verdict_count_where_nothing_is_chosen_by_them(space: Space) -> None:
    lucky, steady = make_params(space, 1e-3), make_params(space, 2e-3)
    trials = [
        *(make_trial(space, lucky, value, seed=i) for i, value in enumerate((0.40, 0.41))),
        *(make_trial(space, steady, value, seed=i) for i, value in enumerate((0.42, 0.43))),
        *(make_trial(space, lucky, 0.5, seed=s, purpose="verdict") for s in (8, 9, 10)),
        *(make_trial(space, steady, 0.4, seed=s, purpose="verdict") for s in (8, 9, 10)),
    ]
    expected = [
        compute_expectations(space, trials, final_step=3, objective=LOSS, counts_verdict=counts)
        for counts in (False, True)
    ]
    before, after = ([e.allocations[i].params for i in np.argsort(e.values)] for e in expected)
    assert before == [lucky, steady]
    assert after == [steady, lucky]


def test_a_budget_within_which_nothing_is_sound_has_no_choice() -> None:
    space = make_front_space()
    large = make_params(space, input=32, head_dim=9, heads=5, qkv=3, depth=6)
    expectations = make_expectations(space, [large], [-0.5], 1e-4)
    assert [s.budget for s in select_front(space, expectations)] == [40_000]
