"""The union of the feasible sets of several adapter shapes, for a space that varies the shape."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from allocator.allocation.factorizations import Counts, Flags
from allocator.allocation.feasible_set import ENUMERATION_LIMIT, FeasibleSet
from allocator.errors import BudgetError

VARIANT = "variant"


class FeasibleUnion:
    """The points of several feasible sets, distinguished by their first column.

    A point's first column is the number of its set, from 1; the others are the ranks of all sets. A
    rank that the point's set does not have is 1, whose logarithm is 0.

    Args:
        sets: The feasible sets by their numbers. The first has the budget of the union; others
            may have a larger one.
        names: For every number, that of a set that was left out included, the parameter name of
            every rank name of its shape.
    """

    def __init__(
        self, sets: Mapping[int, FeasibleSet], names: Mapping[int, Mapping[str, str]]
    ) -> None:
        self.budget = next(iter(sets.values())).budget
        by_rank = names.values()
        self.columns = (VARIANT, *dict.fromkeys(p for ranks in by_rank for p in ranks.values()))
        self.size = sum(feasible.size for feasible in sets.values())
        self._sets, self._names = sets, names
        self._limited: dict[int, FeasibleUnion] = {}
        self._rank_columns = {
            number: np.array([self.columns.index(names[number][name]) for name in feasible.names])
            for number, feasible in sets.items()
        }

    @cached_property
    def points(self) -> Counts | None:
        """All points, shape (size, columns), or None if there are over a million."""
        listed = {number: feasible.points for number, feasible in self._sets.items()}
        if self.size > ENUMERATION_LIMIT or any(points is None for points in listed.values()):
            return None
        return np.concatenate(
            [self._convert_to_points(i, p) for i, p in listed.items() if p is not None]
        )

    def limit(self, budget: int) -> FeasibleUnion:
        """Return the union within a smaller budget, without the sets of which nothing fits it.

        Raises:
            BudgetError: If nothing fits it.
        """
        if budget not in self._limited:
            sets, misfits = dict[int, FeasibleSet](), list[BudgetError]()
            for number, feasible in self._sets.items():
                try:
                    sets[number] = feasible.limit(budget)
                except BudgetError as misfit:
                    misfits.append(misfit)
            if not sets:
                raise min(misfits, key=lambda misfit: misfit.smallest)
            self._limited[budget] = FeasibleUnion(sets, self._names)
        return self._limited[budget]

    def is_feasible(self, points: Counts) -> Flags:
        """Whether each point of shape (n, columns) is feasible, shape (n,)."""
        flags = np.zeros(len(points), dtype=np.bool_)
        for i, feasible in self._sets.items():
            own = np.flatnonzero(points[:, 0] == i)
            others = np.setdiff1d(np.arange(1, len(self.columns)), self._rank_columns[i])
            flags[own] = feasible.is_feasible(points[own][:, self._rank_columns[i]])
            flags[own] &= (points[own][:, others] == 1).all(axis=1)
        return flags

    def sample(self, n: int, rng: np.random.Generator) -> Counts:
        """Draw `n` points, shape (n, columns).

        For each, a set is drawn uniformly, so that small and large sets are equally likely.
        """
        drawn = rng.integers(len(self._sets), size=n)
        points = np.empty((n, len(self.columns)), dtype=np.int64)
        for place, (i, feasible) in enumerate(self._sets.items()):
            rows = np.flatnonzero(drawn == place)
            points[rows] = self._convert_to_points(i, feasible.sample(len(rows), rng))
        return points

    def count_parameters(self, points: Counts) -> Counts:
        """Count the trainable parameters of points of shape (n, columns), shape (n,)."""
        counts = np.zeros(len(points), dtype=np.int64)
        for i, feasible in self._sets.items():
            own = np.flatnonzero(points[:, 0] == i)
            counts[own] = feasible.count_parameters(points[own][:, self._rank_columns[i]])
        return counts

    def _convert_to_points(self, i: int, ranks: Counts) -> Counts:
        """Convert ranks of set `i`, shape (n, its names), to points of the union, (n, columns)."""
        points = np.ones((len(ranks), len(self.columns)), dtype=np.int64)
        points[:, 0] = i
        points[:, self._rank_columns[i]] = ranks
        return points
