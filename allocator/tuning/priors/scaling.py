"""Ranks in proportion to given weights, as large as a budget allows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from allocator.allocation.factorizations import Counts
from allocator.allocation.feasible_set import FeasibleSet

_NUM_SCALES = 2000  # scales, in a geometric series from the smallest ranks to the largest
_BUDGET_FRACTIONS = (0.5, 0.25)  # fractions of the budget for the smaller proposals
_SMALLEST_WEIGHT = 1e-6  # a weight of zero would have no logarithm, and an infinite largest scale


def list_proportional_ranks(
    feasible: FeasibleSet, weights: Mapping[str, float]
) -> list[dict[str, int]]:
    """List allocations of ranks in proportion to weights, best guess first.

    The first allocation is as large as the budget allows. The second lies between it and uniform
    ranks: it is in proportion to the square roots of the weights, because measurements of a single
    baseline are noisy. The last ones have the proportions of the first within half and a quarter
    of the budget, because the optimum may use less than the budget.

    Args:
        feasible: The feasible set.
        weights: Weight by rank name; a name without a weight gets the geometric mean of the others.

    Returns:
        Distinct feasible ranks; an empty list if no proportional choice is feasible.
    """
    roots = {name: math.sqrt(max(weight, 0.0)) for name, weight in weights.items()}
    candidates = [scale_to_budget(feasible, weights), scale_to_budget(feasible, roots)]
    candidates += [scale_to_budget(feasible, weights, f) for f in _BUDGET_FRACTIONS]
    distinct: list[dict[str, int]] = []
    for ranks in candidates:
        if ranks is not None and ranks not in distinct:
            distinct.append(ranks)
    return distinct


def scale_to_budget(
    feasible: FeasibleSet, weights: Mapping[str, float], fraction: float = 1.0
) -> dict[str, int] | None:
    """Find the largest feasible ranks in proportion to weights.

    Ranks are rounded and limited to usable ones, so the number of parameters is a step function
    of the scale. It is computed for a series of scales, and the largest that fits is taken. A mode
    that has reached its largest usable rank keeps it while the others grow.

    Args:
        feasible: The feasible set.
        weights: Weight by rank name, as for `list_proportional_ranks`.
        fraction: Fraction of the budget that may be used.

    Returns:
        Ranks by name, or None if no scale gives feasible ranks.
    """
    proportions = _fill_weights(feasible, weights)
    # From a scale at which no rank rounds to more than 1, to one at which all exceed their largest
    # choice.
    largest = max(int(choices[-1]) for choices in feasible.choices.values())
    scales = np.geomspace(0.5 / proportions.max(), 2 * largest / proportions.min(), _NUM_SCALES)
    points = _lower_to_usable(feasible, np.rint(scales[:, None] * proportions).astype(np.int64))
    counts = feasible.count_parameters(points)
    # To be tested, because raising a rank to its smallest choice may break a limit again.
    fits = feasible.is_feasible(points) & (counts <= fraction * feasible.budget)
    if not fits.any():
        return None
    return feasible.point_to_ranks(points[np.argmax(np.where(fits, counts, -1))])


def _fill_weights(feasible: FeasibleSet, weights: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the weight of every rank name, in the order of names, shape (names,)."""
    known = {
        n: max(w, _SMALLEST_WEIGHT) for n, w in weights.items() if n in feasible.names and w >= 0
    }
    # Only ratios of weights matter, hence the geometric mean; with no weight known, all are 1.
    mean = math.exp(sum(map(math.log, known.values())) / len(known)) if known else 1.0
    return np.array([known.get(name, mean) for name in feasible.names])


def _lower_to_usable(feasible: FeasibleSet, points: Counts) -> Counts:
    """Lower ranks to allowed ones, and to the product of the others if a core limits them.

    A Tucker rank above the product of the other ranks adds parameters and no expressiveness.
    """
    points = _round_to_allowed(feasible, points)
    shape = feasible.shape
    if not shape.formulas.has_core:
        return points
    # Full modes have no rank to choose, but their sizes count among the others.
    full = math.prod(shape.tensor.dims[mode] for mode in shape.full_modes)
    # Lowering one rank lowers the limit of the others, so there is one pass for each name.
    for _ in feasible.names:
        others = full * points.prod(axis=1, keepdims=True) // points
        points = _round_to_allowed(feasible, np.minimum(points, others))
    return points


def _round_to_allowed(feasible: FeasibleSet, points: Counts) -> Counts:
    """Lower every rank to the nearest allowed one, or raise it to the smallest."""
    columns = []
    for column, choices in zip(points.T, feasible.choices.values(), strict=True):
        # The last choice that is not above the rank, or -1 if all are.
        place = np.searchsorted(choices, column, side="right") - 1
        columns.append(choices[np.maximum(place, 0)])
    return np.stack(columns, axis=1)
