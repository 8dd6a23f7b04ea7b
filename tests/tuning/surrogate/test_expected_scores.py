"""The choice among completed trials: by what they are expected to score."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from allocator.allocation.constructions import BackboneShape
from allocator.errors import StudyError
from allocator.training.messages import Ending
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Space
from allocator.tuning.space.space_file import read_space
from allocator.tuning.storage.trial_memory import (
    Attributes,
    baseline_attributes,
    is_baseline,
    write_ending,
)
from allocator.tuning.surrogate.expected_scores import select_best
from tests.reports import make_report


@pytest.fixture(scope="module")
def space() -> Space:
    backbone = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)
    return build_space(read_space("tenslora_plus"), backbone, 40_000)


def make_trial(
    space: Space,
    rate: float,
    score: float,
    *,
    ending: Ending = "completed",
    queued_with: Attributes | None = None,
) -> FrozenTrial:
    """Make a completed trial of uniform ranks that remembers how its training ended."""
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs=queued_with)
    trial = study.ask()
    write_ending(trial, make_report(0, score, ending))
    ranks = {
        space.rank_parameters[n]: r for n, r in space.variants[0].feasible.find_uniform().items()
    }
    return create_trial(
        params={**ranks, "core_lr_multiplier": 4.0, "learning_rate": rate},
        distributions=dict(space.distributions),
        value=score,
        state=TrialState.COMPLETE,
        user_attrs=trial.user_attrs,
    )


def test_one_lucky_score_among_poor_neighbours_is_not_chosen(space: Space) -> None:
    rng = np.random.default_rng(0)
    rates = np.geomspace(1e-4, 1e-2, 25)
    truth = [0.5 - 0.3 * math.log10(rate / 3e-3) ** 2 for rate in rates]
    scores = [value + rng.normal(scale=0.03) for value in truth]
    lucky = 12  # the middle of the range, where 0.43 is expected
    scores[lucky] = 0.57
    trials = [make_trial(space, r, s) for r, s in zip(rates.tolist(), scores, strict=True)]
    assert max(scores) == scores[lucky]
    chosen = select_best(space, trials, final_step=3).best
    assert chosen.trial.params["learning_rate"] > rates[lucky]
    assert chosen.mean < 0.57


def test_trials_that_diverged_teach_but_are_never_chosen(space: Space) -> None:
    trials = [
        make_trial(space, 1e-3, 0.2),
        make_trial(space, 9e-3, 0.9, ending="diverged"),
    ]
    assert select_best(space, trials, final_step=3).best.trial.params["learning_rate"] == 1e-3


def test_the_baseline_is_expected_to_score_too(space: Space) -> None:
    trials = [
        make_trial(space, 1e-3, 0.2, queued_with=baseline_attributes()),
        *(make_trial(space, rate, 0.4) for rate in (2e-3, 3e-3, 4e-3)),
    ]
    selection = select_best(space, trials, final_step=3)
    assert selection.baseline is not None
    assert is_baseline(selection.baseline.trial)
    assert selection.baseline.mean < selection.best.mean


def test_nothing_to_choose_from_is_said(space: Space) -> None:
    trials = [make_trial(space, 9e-3, 0.0, ending="diverged")]
    with pytest.raises(StudyError, match="no trial of 1 was completed, so there is nothing"):
        select_best(space, trials, final_step=3)
