"""What each rank and rate does to the score, as far as the trainings of a study tell.

Shapes: V values of a parameter, P columns of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from optuna.trial import FrozenTrial
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.space.points import Points, read_bounds
from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.objective import Objective
from allocator.tuning.storage.trial_memory import leave_out_verdict, list_standing
from allocator.tuning.surrogate.encoder import Encoder
from allocator.tuning.surrogate.observations import Observation, read_observations
from allocator.tuning.surrogate.surrogate import Surrogate

Floats = npt.NDArray[np.float64]
_LENGTH_PRIOR = (0.0, 0.5)
"""Mean and standard deviation of the log length scales with which effects are computed.

Every parameter may matter over its range, until trainings say otherwise. The search's own prior,
that most parameters hardly matter, finds the best sooner, but is too sure of what was not tried: on
surfaces of known effects its bands covered 77% to 84% of the differences.
"""

_SUPPORT = 2  # allocations that must have been tried at a value or beyond; one may be an accident
# Ranks and rates at which an effect is computed, beside the tried ones at both ends.
_RANKS = sorted({1, *(2**n for n in range(1, 12)), *(3 * 2**n for n in range(10))})
_RATES = [step * 10.0**power for power in range(-7, 4) for step in (1, 1.5, 2, 3, 5, 7)]
_MARGIN = 1e-9  # of rounding, where an input is compared with the tried ones


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginalEffect:
    """The effect of one parameter, with all others as in one tried allocation.

    Attributes:
        name: Optuna's name of the parameter.
        values: Its values that the tried allocations tell of, ascending, shape (V,).
        own: Place among them of the value of the allocation.
        mean: Expected value of the objective at each, shape (V,).
        covariance: Joint posterior covariance of these, shape (V, V).
        limits: Smallest and largest value in the space.
    """

    name: str
    values: Floats
    own: int
    mean: Floats
    covariance: Floats
    limits: tuple[float, float]

    @property
    def differences(self) -> Floats:
        """Value in the column minus value in the row, shape (V, V)."""
        return np.asarray(self.mean[None] - self.mean[:, None])

    @property
    def errors(self) -> Floats:
        """Standard deviations of the differences, from the joint covariance, shape (V, V)."""
        variances = np.diag(self.covariance)
        between = variances[None] + variances[:, None] - 2 * self.covariance
        return np.asarray(np.sqrt(np.maximum(between, 0.0)))


def compute_marginal_effects(
    space: Space,
    trials: Sequence[FrozenTrial],
    bases: Sequence[TriedAllocation],
    *,
    final_step: int,
    objective: Objective,
) -> list[MarginalEffect]:
    """Compute the effect of every searched rank and rate, in the order of the space.

    All others are held as in the first of `bases` that has the parameter. Averages over all tried
    allocations are no better supported: on surfaces of known effects their bands cover less.
    Rivals are left out.

    Args:
        space: The study's space.
        trials: All its trials; those of the verdict change nothing.
        bases: Allocations that were tried, the choice first, then the best first.
        final_step: Boundaries of a whole training.
        objective: What the study optimises.
    """
    space = space.without_rivals
    searched = leave_out_verdict(list_standing(trials))
    observations = read_observations(space, searched, final_step=final_step, sign=objective.sign)
    params = [base.params for base in bases if space.has_all_params(base.params)]
    if not params:
        return []
    # Small matrices: two threads would take ten times as long as one.
    with threadpool_limits(limits=1, user_api="blas"):
        return trace_effects(space, observations, params, sign=objective.sign)


def trace_effects(
    space: Space, observations: Sequence[Observation], bases: Sequence[Params], *, sign: float
) -> list[MarginalEffect]:
    """Trace the objective along every parameter, through the first of `bases` that has it.

    Where no more allocations of a kind were tried than it has parameters, nothing but the value of
    the base is in the effect.

    Args:
        space: A space without rivals.
        observations: Scores of trainings.
        bases: Tried allocations, the one to be preferred first.
        sign: Factor that turns scores into values of the objective.
    """
    surrogate = Surrogate.fit(space, observations, raises_low=False, length_prior=_LENGTH_PRIOR)
    encoder = surrogate.encoder
    domain = encoder.domain
    seen = domain.params_to_points([o.params for o in observations if not o.collapsed])
    tried = np.unique(seen, axis=0)
    effects = []
    for name, distribution in space.distributions.items():
        base = next((p for p in bases if name in p), None)
        if base is None or name in space.choices or distribution.single():
            continue
        base_point = domain.params_to_points([base])
        alike = _list_alike(space, tried, base_point)
        freedom = len(alike) - len(space.list_searched(space.find_variant(base)))
        points = base_point
        if freedom > 0:
            points = _list_supported_points(encoder, alike, base_point, name)
        mean, _ = surrogate.predict(points)
        values = points[:, domain.columns.index(name)]
        effects.append(
            MarginalEffect(
                name=name,
                values=values,
                own=int(np.flatnonzero(values == float(base[name]))[0]),
                mean=sign * mean,
                # Residuals of as many parameters are too small by that factor, as in a regression.
                covariance=surrogate.compute_covariance(points, points)
                * (len(alike) / max(freedom, 1)),
                limits=read_bounds(distribution),
            )
        )
    return effects


def _list_alike(space: Space, tried: Points, base: Points) -> Points:
    """List the tried points of the same kind; only a space of several has a column for it."""
    return tried[tried[:, 0] == base[0, 0]] if space.choices else tried


def _list_supported_points(encoder: Encoder, tried: Points, base: Points, name: str) -> Points:
    """List the points along a parameter of which the tried allocations tell something.

    They are within the budget, and no input of the surrogate is outside of what was tried, the
    core's learning rate and the number of parameters included.

    Returns:
        Shape (V, P), the base among them and none missing between two of them.
    """
    domain = encoder.domain
    column = domain.columns.index(name)
    ranked = np.sort(tried[:, column])
    k = min(_SUPPORT, len(ranked)) - 1
    own = base[0, column]
    low, high = min(own, ranked[k]), max(own, ranked[-1 - k])
    steps = _RATES if name in domain.rate_names else _RANKS
    values = np.array(sorted({low, own, high, *(float(s) for s in steps if low < s < high)}))
    points = np.repeat(base, len(values), axis=0)
    points[:, column] = values
    inputs, known = encoder.encode_points(points), encoder.encode_points(tried)
    above = (inputs >= known.min(axis=0) - _MARGIN).all(axis=1)
    below = (inputs <= known.max(axis=0) + _MARGIN).all(axis=1)
    missing = np.flatnonzero(~(above & below & domain.are_feasible(points)))
    place = int(np.flatnonzero(values == own)[0])
    first = int(missing[missing < place].max(initial=-1)) + 1
    last = int(missing[missing > place].min(initial=len(values)))
    return np.asarray(points[first:last])
