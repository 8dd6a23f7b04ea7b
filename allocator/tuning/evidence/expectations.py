"""What a study expects of the allocations that it has tried, from all their trainings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from optuna.trial import FrozenTrial
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from allocator.errors import StudyError
from allocator.tuning.evidence.allocations import TriedAllocation, list_allocations
from allocator.tuning.space.space import Space
from allocator.tuning.storage.objective import Objective
from allocator.tuning.storage.trial_memory import leave_out_verdict, list_standing
from allocator.tuning.surrogate.observations import read_observations
from allocator.tuning.surrogate.surrogate import Surrogate

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectations:
    """The joint posterior of what allocations are worth, without the luck of single trainings.

    Attributes:
        allocations: The n sound allocations.
        mean: Posterior mean of each, higher is better, shape (n,).
        covariance: Posterior covariance, shape (n, n).
        noise: Variance of the luck of one training.
        sign: Factor that turns means into values of the objective.
    """

    allocations: tuple[TriedAllocation, ...]
    mean: Floats
    covariance: Floats
    noise: float
    sign: float

    @property
    def values(self) -> Floats:
        """Expected value of the objective of each allocation, shape (n,)."""
        return self.sign * self.mean

    def list_best_first(self) -> list[TriedAllocation]:
        """List the allocations, that of which most is expected first."""
        return [self.allocations[place] for place in np.argsort(-self.mean, kind="stable")]

    def find(self, allocation: TriedAllocation) -> int | None:
        """Return the index of an allocation, or None if it is not among them."""
        params = [known.params for known in self.allocations]
        return params.index(allocation.params) if allocation.params in params else None

    def keep(self, kept: Callable[[TriedAllocation], bool]) -> Expectations:
        """Leave out some allocations.

        Raises:
            StudyError: If none is left.
        """
        places = [place for place, a in enumerate(self.allocations) if kept(a)]
        if not places:
            raise StudyError("no allocation within the budget was trained without a collapse")
        return dataclasses.replace(
            self,
            allocations=tuple(self.allocations[place] for place in places),
            mean=self.mean[places],
            covariance=self.covariance[np.ix_(places, places)],
        )

    def compute_difference_errors(self, index: int) -> Floats:
        """Compute the standard deviation of each allocation's difference to one of them, (n,)."""
        variances = np.diag(self.covariance)
        between = variances + variances[index] - 2 * self.covariance[index]
        return np.asarray(np.sqrt(np.maximum(between, 0.0)))


def compute_expectations(
    space: Space,
    trials: Sequence[FrozenTrial],
    *,
    final_step: int,
    objective: Objective,
    counts_verdict: bool = False,
) -> Expectations:
    """Compute what a study expects of its sound allocations.

    Args:
        space: The study's space.
        trials: All its trials; pruned ones inform the surrogate too, those that collapsed do not.
        final_step: Boundaries of a whole training.
        objective: What the study optimises.
        counts_verdict: Whether the trainings of the verdict are evidence too. They are not where a
            choice is made, which they are to prove.

    Raises:
        StudyError: If there is no sound allocation.
    """
    searched = list_standing(trials)
    searched = searched if counts_verdict else leave_out_verdict(searched)
    sound = [a for a in list_allocations(space, searched) if a.is_sound]
    if not sound:
        raise StudyError(
            f"no allocation was trained without a collapse in {len(searched)} trainings, so there "
            "is nothing to choose; search on with more --trials, or lower learning rates in the "
            "space"
        )
    observations = read_observations(space, searched, final_step=final_step, sign=objective.sign)
    # Products of small matrices take ten times as long on two threads as on one, and round
    # differently with the number of threads.
    with threadpool_limits(limits=1, user_api="blas"):
        surrogate = Surrogate.fit(space, observations)
        points = surrogate.encoder.domain.params_to_points([a.params for a in sound])
        mean, _ = surrogate.predict(points)
        covariance = surrogate.compute_covariance(points, points)
    return Expectations(
        allocations=tuple(sound),
        mean=mean,
        covariance=covariance,
        noise=surrogate.noise,
        sign=objective.sign,
    )
