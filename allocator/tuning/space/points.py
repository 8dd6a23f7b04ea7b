"""The points that samplers move among: feasible ranks beside rates, as arrays."""

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
Features = npt.NDArray[np.float64]
_NUM_SAMPLED = 4096  # points drawn where a feasible set is too large to be listed


def read_bounds(distribution: BaseDistribution) -> tuple[float, float]:
    """Give the smallest and the largest value of a searched parameter."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return float(distribution.low), float(distribution.high)


class Domain:
    """A space's points: one row each, one column per rank and then one per searched rate.

    Fixed ranks keep their column, since the feasibility of the others depends on them. In a space
    of several variants the first column says which one a point belongs to. Rates stand as they
    are; where they are sampled or compared they are placed in the unit interval.

    Args:
        space: The search space.
        decided: Values of parameters that every point shall have, as an enqueued trial does.
    """

    def __init__(self, space: Space, required: Params = MappingProxyType({})) -> None:
        self.space = space
        self.required_params = dict(required)
        searched = set(space.distributions) - set(space.choices)
        self._required_values = {n: float(v) for n, v in required.items() if n in searched}
        self._variants = space.matching(required)
        self.rank_names = space.rank_columns
        self.rate_names = space.rate_parameters
        self.columns = self.rank_names + self.rate_names
        limits = [read_bounds(space.distributions[name]) for name in self.rate_names]
        self._low = np.array([low for low, _ in limits])
        self._high = np.array([high for _, high in limits])

    def params_to_points(self, params: Sequence[Params]) -> Points:
        """Turn the parameters of n trials into points, shape (n, columns)."""
        rows = [
            [
                *self.space.params_to_row(p),
                *({**self.space.fixed, **p}[name] for name in self.rate_names),
            ]
            for p in params
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.columns))

    def point_to_params(self, point: Points) -> dict[str, int | float | str]:
        """Turn one point into the searched parameters of a trial, as Optuna types them."""
        rates = dict(zip(self.rate_names, point[len(self.rank_names) :].tolist(), strict=True))
        values = {**self.space.row_to_params(self.read_ranks(point[None])[0]), **rates}
        return {name: values[name] for name in self.space.distributions if name in values}

    def read_ranks(self, points: Points) -> Counts:
        """Read the ranks of points, shape (n, ranks)."""
        return points[:, : len(self.rank_names)].astype(np.int64)

    def join_rates(self, ranks: Counts, unit_rates: Points) -> Points:
        """Put ranks of shape (n, ranks) beside rates given in the unit cube, shape (n, rates)."""
        points = np.hstack([ranks.astype(np.float64), self._scale_from_unit(unit_rates)])
        for name, value in self._required_values.items():
            points[:, self.columns.index(name)] = value
        return points

    def read_unit_rates(self, points: Points) -> Points:
        """Place the rates of points in the unit cube, shape (n, rates)."""
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
        """Draw `n` points: ranks uniform over the feasible set, rates by their distribution."""
        return self.join_rates(self._sample_ranks(n, rng), rng.random((n, len(self.rate_names))))

    def are_feasible(self, points: Points) -> Flags:
        """Tell which points have feasible ranks, shape (n,)."""
        return self.space.feasible.is_feasible(self.read_ranks(points))

    def list_rank_moves(self, ranks: Counts) -> tuple[Counts, Counts]:
        """List the feasible ranks one move away: up, down, doubled, halved, or traded.

        A trade raises one rank and lowers another, which is how a choice that fills its budget
        improves.

        Args:
            ranks: Choices of ranks, shape (n, ranks).

        Returns:
            The moves, shape (moves, ranks), and for each the row of `ranks` that it starts from,
            shape (moves,).
        """
        n, width = ranks.shape
        up, down = np.maximum(ranks + 1, ranks * 5 // 4), np.minimum(ranks - 1, ranks * 4 // 5)
        own = np.eye(width, dtype=np.bool_)
        alone = [
            np.where(own, to[:, None], ranks[:, None])
            for to in (up, down, ranks + 1, ranks - 1, 2 * ranks, ranks // 2)
        ]  # each (n, width, width)
        raised, lowered = (own[rows] for rows in np.nonzero(~own))
        pairs = [
            np.where(raised, more[:, None], np.where(lowered, less[:, None], ranks[:, None]))
            for more, less in ((ranks + 1, ranks - 1), (up, down))
        ]  # each (n, width * (width - 1), width)
        moves = np.concatenate([*alone, *pairs], axis=1)
        start = np.repeat(np.arange(n), moves.shape[1])
        moves = moves.reshape(-1, width)
        kept = self.space.feasible.is_feasible(moves) & self._match_required(moves)
        return moves[kept], start[kept]

    def find_nearest_ranks(self, ranks: Counts, rng: np.random.Generator) -> Counts:
        """Find feasible ranks nearest to given ones, by distance in log rank.

        Args:
            ranks: Any positive ranks, shape (ranks,).
            rng: Used where the feasible set is too large to be listed.

        Returns:
            Feasible ranks, shape (ranks,); `ranks` themselves where they are feasible.
        """
        if (self.space.feasible.is_feasible(ranks[None]) & self._match_required(ranks[None]))[0]:
            return ranks
        known = self._list_matching_ranks(rng)
        best: Counts = known[np.argmin(_log_distance(known, ranks))]
        if self.space.feasible.points is not None:
            return best
        while len(moves := self.list_rank_moves(best[None])[0]):
            step: Counts = moves[np.argmin(_log_distance(moves, ranks))]
            if _log_distance(step[None], ranks)[0] >= _log_distance(best[None], ranks)[0]:
                break
            best = step
        return best

    def are_new(self, points: Points, used: Points) -> Flags:
        """Tell which points are not among `used` ones, shape (n,)."""
        same = (points[:, None] == used[None]).all(axis=2)
        return np.asarray(~same.any(axis=1))

    def _sample_ranks(self, n: int, rng: np.random.Generator) -> Counts:
        is_free = len(self._variants) == len(self.space.variants)
        if is_free and not set(self.rank_names) & set(self._required_values):
            return self.space.feasible.sample(n, rng)
        known = self._list_matching_ranks(rng)
        return known[rng.integers(len(known), size=n)]

    def _list_matching_ranks(self, rng: np.random.Generator) -> Counts:
        """Give the feasible ranks that agree with what is decided, or a sample of many of them."""
        listed = self.space.feasible.points
        known = self.space.feasible.sample(_NUM_SAMPLED, rng) if listed is None else listed
        matching = known[self._match_required(known)]
        # Where nothing matches, a user has decided on ranks that break the budget or the range.
        return matching if len(matching) else known

    def _match_required(self, ranks: Counts) -> Flags:
        flags = np.ones(len(ranks), dtype=np.bool_)
        if self.space.choices:
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
        # Rounding may step over a bound, and Optuna would drop the whole value.
        return np.asarray(np.clip(rates, self._low, self._high))

    def _scale_to_unit(self, name: str, rate: Points, low: float, high: float) -> Points:
        if low == high:
            return np.zeros_like(rate)
        if self._is_log(name):
            rate, low, high = np.log(rate), math.log(low), math.log(high)
        return np.asarray((rate - low) / (high - low))

    def _is_log(self, name: str) -> bool:
        distribution = self.space.distributions[name]
        return isinstance(distribution, FloatDistribution) and distribution.log


def _log_distance(points: Counts, target: Counts) -> Points:
    return np.asarray(np.sum((np.log(points) - np.log(target)) ** 2, axis=1))
