"""Chooses among completed trials by what they are expected to score, not by the luckiest score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from allocator.errors import StudyError
from allocator.tuning.space.space import Space
from allocator.tuning.storage.trial_memory import is_baseline, is_completed
from allocator.tuning.surrogate.observations import read_observations
from allocator.tuning.surrogate.surrogate import Surrogate


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What the surrogate expects of one trial's allocation.

    Attributes:
        trial: The trial.
        mean: Posterior mean of its score at the last boundary, without noise. How sure that is, a
            surrogate of a dozen trials does not know: it takes most noise for signal.
    """

    trial: FrozenTrial
    mean: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The choice of a study.

    Attributes:
        best: The completed trial that was chosen.
        baseline: The uniform-rank baseline, where it was completed.
        completed: Trials that the choice was made from.
    """

    best: Expectation
    baseline: Expectation | None
    completed: int


def select_best(
    space: Space, trials: Sequence[FrozenTrial], *, final_step: int, confirmed: int | None = None
) -> Selection:
    """Choose the best allocation of a study: the one of highest posterior mean.

    Args:
        space: The study's space.
        trials: All its trials.
        final_step: Boundaries of a whole trial.
        confirmed: Number of the completed trial that other seeds have chosen instead.

    Raises:
        StudyError: If no trial was completed.
    """
    expected = compute_expectations(space, trials, final_step=final_step)
    return Selection(
        best=max(expected, key=lambda e: (e.trial.number == confirmed, e.mean)),
        baseline=next((e for e in expected if is_baseline(e.trial)), None),
        completed=len(expected),
    )


def compute_expectations(
    space: Space, trials: Sequence[FrozenTrial], *, final_step: int
) -> list[Expectation]:
    """Say what is expected of every completed trial; arguments and errors as for `select_best`."""
    completed = [trial for trial in trials if is_completed(trial)]
    if not completed:
        raise StudyError(
            f"no trial of {len(trials)} was completed, so there is nothing to choose; "
            "search on with more --trials, or lower learning rates in the space"
        )
    observations = read_observations(space, trials, final_step=final_step)
    surrogate = Surrogate.fit(space, observations)
    means, _ = surrogate.predict([trial.params for trial in completed])
    return [
        Expectation(trial=trial, mean=float(mean))
        for trial, mean in zip(completed, means, strict=True)
    ]
