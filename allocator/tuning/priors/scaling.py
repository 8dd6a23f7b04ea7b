"""Ranks in proportion to given numbers, as large as a budget allows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from allocator.allocation import FeasibleSet
from allocator.allocation.factorizations import Counts

_SCALES = 2000
_SHARES = (0.5, 0.25)
_FLOOR = 1e-6


def list_proportional_ranks(
    feasible: FeasibleSet, weights: Mapping[str, float]
) -> list[dict[str, int]]:
    """List allocations of ranks in proportion to weights, best guess first.

    First as large as the budget allows; then half-way to a uniform rank (in proportion to the
    roots of the weights), since what a baseline shows is noisy; then the first one within a half
    and a quarter of the budget, since the optimum may lie inside.

    Args:
        feasible: The feasible set.
        weights: Number by rank name; a name that lacks one gets their geometric mean.

    Returns:
        Distinct feasible ranks; none where no proportional choice is feasible.
    """
    roots = {name: math.sqrt(max(weight, 0.0)) for name, weight in weights.items()}
    found = [scale_to_budget(feasible, weights), scale_to_budget(feasible, roots)]
    found += [scale_to_budget(feasible, weights, share) for share in _SHARES]
    distinct: list[dict[str, int]] = []
    for ranks in found:
        if ranks is not None and ranks not in distinct:
            distinct.append(ranks)
    return distinct


def scale_to_budget(
    feasible: FeasibleSet, weights: Mapping[str, float], share: float = 1.0
) -> dict[str, int] | None:
    """Find the largest feasible ranks in proportion to weights.

    A mode that cannot use its part stays at what it can use, while the others go on growing.

    Args:
        feasible: The feasible set.
        weights: Number by rank name, as for `list_proportional_ranks`.
        share: Share of the budget that may be used.

    Returns:
        Ranks by name, or None where no scale gives feasible ranks.
    """
    wanted = _fill_weights(feasible, weights)
    largest = max(int(choices[-1]) for choices in feasible.choices.values())
    scales = np.geomspace(0.5 / wanted.max(), 2 * largest / wanted.min(), _SCALES)
    points = _lower_to_usable(feasible, np.rint(scales[:, None] * wanted).astype(np.int64))
    counts = feasible.count_parameters(points)
    fits = feasible.is_feasible(points) & (counts <= share * feasible.budget)
    if not fits.any():
        return None
    return feasible.point_to_ranks(points[np.argmax(np.where(fits, counts, -1))])


def _fill_weights(feasible: FeasibleSet, weights: Mapping[str, float]) -> npt.NDArray[np.float64]:
    known = {n: max(w, _FLOOR) for n, w in weights.items() if n in feasible.names and w >= 0}
    middle = math.exp(sum(map(math.log, known.values())) / len(known)) if known else 1.0
    return np.array([known.get(name, middle) for name in feasible.names])


def _lower_to_usable(feasible: FeasibleSet, points: Counts) -> Counts:
    """Lower ranks to allowed ones, and to the product of the others where a core limits them."""
    points = _round_to_allowed(feasible, points)
    shape = feasible.shape
    if not shape.formulas.has_core:
        return points
    full = math.prod(shape.tensor.dims[mode] for mode in shape.full_modes)
    for _ in feasible.names:
        others = full * points.prod(axis=1, keepdims=True) // points
        points = _round_to_allowed(feasible, np.minimum(points, others))
    return points


def _round_to_allowed(feasible: FeasibleSet, points: Counts) -> Counts:
    """Lower every rank to the largest allowed one, or raise it to the smallest."""
    columns = []
    for column, choices in zip(points.T, feasible.choices.values(), strict=True):
        place = np.searchsorted(choices, column, side="right") - 1
        columns.append(choices[np.maximum(place, 0)])
    return np.stack(columns, axis=1)
