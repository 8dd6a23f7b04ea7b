"""Choose among completed trials by expected score, because the best score is partly luck."""

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
    """The score that the surrogate expects of one trial's allocation.

    There is no standard deviation: a surrogate fitted to a dozen trials mistakes most of the noise
    for signal, so its standard deviation would be too small.

    Attributes:
        trial: The trial.
        mean: Posterior mean of its noise-free score at the last boundary.
    """

    trial: FrozenTrial
    mean: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The trial that a study chooses.

    Attributes:
        best: The completed trial that is chosen.
        baseline: The uniform-rank baseline; None if it was not completed.
        completed: Number of completed trials, from which the choice was made.
    """

    best: Expectation
    baseline: Expectation | None
    completed: int


def select_best(
    space: Space, trials: Sequence[FrozenTrial], *, final_step: int, confirmed: int | None = None
) -> Selection:
    """Choose the completed trial with the highest posterior mean.

    Args:
        space: The study's space.
        trials: All its trials.
        final_step: Boundaries of a whole trial.
        confirmed: Number of the completed trial that was chosen by trainings with other seeds; it
            is selected regardless of its mean.

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
    """Compute the expected score of every completed trial.

    Args:
        space: The study's space.
        trials: All its trials; pruned and collapsed ones inform the surrogate too.
        final_step: Boundaries of a whole trial.

    Raises:
        StudyError: If no trial was completed.
    """
    # Trials that were pruned or collapsed left no adapter, so they cannot be chosen.
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
