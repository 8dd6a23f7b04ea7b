"""The points that samplers choose from, as arrays of feasible ranks and rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from allocator.allocation.factorizations import Counts, Flags
from allocator.tuning.space.space import Params, Space

Points = npt.NDArray[np.float64]
_NUM_SAMPLED = 4096  # rank choices drawn from a feasible set that is too large to list


def read_bounds(distribution: BaseDistribution) -> tuple[float, float]:
    """Return the smallest and the largest value of a searched parameter."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return float(distribution.low), float(distribution.high)


class Domain:
    """The points of a space as rows of an array: one column per rank, then one per searched rate.

    A fixed rank has a column too, because the feasibility of the other ranks depends on it. In a
    space of several variants the first column holds the number of the point's variant. The columns
    of rates hold the rates themselves; `join_rates` and `read_unit_rates` convert from and to the
    unit cube, in which rates are sampled and moved.

    Args:
        space: The search space.
        required: Parameter values that every point must have, such as those that an enqueued trial
            comes with.
        budget: The budget that all points are within, one of the space's; by default the largest.
    """

    def __init__(
        self,
        space: Space,
        required: Params = MappingProxyType({}),
        *,
        budget: int | None = None,
    ) -> None:
        self.space = space
        self.feasible = space.limit(budget or space.feasible.budget)
        self.required_params = dict(required)
        searched = set(space.distributions) - set(space.choices)
        self._required_values = {n: float(v) for n, v in required.items() if n in searched}
        self._variants = space.list_matching_variants(required)
        self.rank_names = space.rank_columns
        self.rate_names = space.rate_parameters
        self.columns = self.rank_names + self.rate_names
        limits = [read_bounds(space.distributions[name]) for name in self.rate_names]
        self._low = np.array([low for low, _ in limits])
        self._high = np.array([high for _, high in limits])

    def params_to_points(self, params: Sequence[Params]) -> Points:
        """Convert the parameters of n trials to points, shape (n, columns)."""
        rows = [
            [
                *self.space.params_to_row(p),
                *({**self.space.fixed, **p}[name] for name in self.rate_names),
            ]
            for p in params
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.columns))

    def point_to_params(self, point: Points) -> dict[str, int | float | str]:
        """Convert one point, shape (columns,), to the searched parameters of a trial."""
        rates = dict(zip(self.rate_names, point[len(self.rank_names) :].tolist(), strict=True))
        values = {**self.space.row_to_params(self.read_ranks(point[None])[0]), **rates}
        return {name: values[name] for name in self.space.distributions if name in values}

    def read_ranks(self, points: Points) -> Counts:
        """Read the ranks of points, shape (n, ranks)."""
        return points[:, : len(self.rank_names)].astype(np.int64)

    def join_rates(self, ranks: Counts, unit_rates: Points) -> Points:
        """Build points from ranks, and rates in the unit cube.

        Values that the domain requires replace those of `ranks` and `unit_rates`.

        Args:
            ranks: Shape (n, ranks).
            unit_rates: Shape (n, rates), each in [0, 1].

        Returns:
            Points, shape (n, columns).
        """
        points = np.hstack([ranks.astype(np.float64), self._scale_from_unit(unit_rates)])
        for name, value in self._required_values.items():
            points[:, self.columns.index(name)] = value
        return points

    def read_unit_rates(self, points: Points) -> Points:
        """Read the rates of points, scaled to the unit cube, shape (n, rates)."""
        rates = points[:, len(self.rank_names) :]
        if not self.rate_names:
            return rates
        scaled = [
            self._scale_to_unit(name, rates[:, i], low, high)
            for i, (name, low, high) in enumerate(
                zip(self.rate_names, self._low, self._high, strict=True)
            )
        ]
        return np.stack(scaled, axis=1)

    def sample_points(self, n: int, rng: np.random.Generator) -> Points:
        """Draw `n` points: ranks uniformly from the feasible set, rates by their distributions."""
        return self.join_rates(self._sample_ranks(n, rng), rng.random((n, len(self.rate_names))))

    def are_feasible(self, points: Points) -> Flags:
        """Whether each point has feasible ranks, shape (n,)."""
        return self.feasible.is_feasible(self.read_ranks(points))

    def list_rank_moves(self, ranks: Counts) -> tuple[Counts, Counts]:
        """List the feasible choices of ranks that are one move away from given ones.

        A move changes one rank, or trades: it raises one rank and lowers another.

        Args:
            ranks: Choices of ranks, shape (n, ranks).

        Returns:
            The moves, shape (moves, ranks), and for each the row of `ranks` that it starts from,
            shape (moves,).
        """
        n, width = ranks.shape
        # By a quarter, and at least by one.
        up, down = np.maximum(ranks + 1, ranks * 5 // 4), np.minimum(ranks - 1, ranks * 4 // 5)
        # One rank changes: by one to refine, by a quarter or a factor of two to cross large ranks
        # in few moves. Row i of the identity marks the rank that move i changes.
        changed = np.eye(width, dtype=np.bool_)
        single_changes = [
            np.where(changed, new_rank[:, None], ranks[:, None])
            for new_rank in (up, down, ranks + 1, ranks - 1, 2 * ranks, ranks // 2)
        ]  # each (n, width, width)
        # Where ranks fill the budget, raising one alone is infeasible; a trade stays within it.
        raised, lowered = (changed[rows] for rows in np.nonzero(~changed))
        trades = [
            np.where(raised, more[:, None], np.where(lowered, less[:, None], ranks[:, None]))
            for more, less in ((ranks + 1, ranks - 1), (up, down))
        ]  # each (n, width * (width - 1), width)
        moves = np.concatenate([*single_changes, *trades], axis=1)
        start = np.repeat(np.arange(n), moves.shape[1])
        moves = moves.reshape(-1, width)
        kept = self.feasible.is_feasible(moves) & self._match_required(moves)
        return moves[kept], start[kept]

    def find_nearest_ranks(self, ranks: Counts, rng: np.random.Generator) -> Counts:
        """Find the feasible ranks nearest to `ranks`, by Euclidean distance of log ranks.

        If the feasible set is too large to list, the result is the nearest of a random sample and
        of the ranks that moves reach from it.

        Args:
            ranks: Any positive ranks, shape (ranks,).
            rng: Random generator for that sample.

        Returns:
            Feasible ranks, shape (ranks,); `ranks` themselves if they are feasible.
        """
        if (self.feasible.is_feasible(ranks[None]) & self._match_required(ranks[None]))[0]:
            return ranks
        candidates = self._list_matching_ranks(rng)
        best: Counts = candidates[np.argmin(_compute_log_distances(candidates, ranks))]
        # All feasible ranks were among the candidates.
        if self.feasible.points is not None:
            return best
        # Descend from the best of the sample until no move leads nearer.
        while len(moves := self.list_rank_moves(best[None])[0]):
            step: Counts = moves[np.argmin(_compute_log_distances(moves, ranks))]
            if (
                _compute_log_distances(step[None], ranks)[0]
                >= _compute_log_distances(best[None], ranks)[0]
            ):
                break
            best = step
        return best

    def are_new(self, points: Points, used: Points) -> Flags:
        """Whether each of `points` differs from all `used` points, shape (n,)."""
        same = (points[:, None] == used[None]).all(axis=2)
        return np.asarray(~same.any(axis=1))

    def _sample_ranks(self, n: int, rng: np.random.Generator) -> Counts:
        is_free = len(self._variants) == len(self.space.variants)
        if is_free and not set(self.rank_names) & set(self._required_values):
            # Nothing about the ranks is required, so a set of any size can be sampled exactly.
            return self.feasible.sample(n, rng)
        candidates = self._list_matching_ranks(rng)
        return candidates[rng.integers(len(candidates), size=n)]

    def _list_matching_ranks(self, rng: np.random.Generator) -> Counts:
        """List the feasible ranks with the required values, from a sample if there are too many."""
        listed = self.feasible.points
        candidates = self.feasible.sample(_NUM_SAMPLED, rng) if listed is None else listed
        matching = candidates[self._match_required(candidates)]
        # Nothing matches if a user enqueued ranks beyond the budget or their range. `join_rates`
        # then keeps the user's ranks and takes the other ranks from a feasible choice.
        return matching if len(matching) else candidates

    def _match_required(self, ranks: Counts) -> Flags:
        flags = np.ones(len(ranks), dtype=np.bool_)
        if self.space.choices:
            # The first column holds the variant.
            flags &= np.isin(ranks[:, 0], self._variants)
        for i, name in enumerate(self.rank_names):
            if name in self._required_values:
                flags &= ranks[:, i] == self._required_values[name]
        return flags

    def _scale_from_unit(self, unit_rates: Points) -> Points:
        rates = np.empty_like(unit_rates)
        for i, name in enumerate(self.rate_names):
            low, high, u = self._low[i], self._high[i], unit_rates[:, i]
            if self._is_log(name):
                rates[:, i] = np.exp(math.log(low) + u * (math.log(high) - math.log(low)))
            else:
                rates[:, i] = low + u * (high - low)
        # exp(log(high)) may exceed high by a rounding error, and Optuna ignores a suggested value
        # that lies outside of its distribution.
        return np.asarray(np.clip(rates, self._low, self._high))

    def _scale_to_unit(self, name: str, rate: Points, low: float, high: float) -> Points:
        # A range of a single value would divide zero by zero.
        if low == high:
            return np.zeros_like(rate)
        if self._is_log(name):
            rate, low, high = np.log(rate), math.log(low), math.log(high)
        return np.asarray((rate - low) / (high - low))

    def _is_log(self, name: str) -> bool:
        distribution = self.space.distributions[name]
        return isinstance(distribution, FloatDistribution) and distribution.log


def _compute_log_distances(points: Counts, target: Counts) -> Points:
    return np.asarray(np.sum((np.log(points) - np.log(target)) ** 2, axis=1))
