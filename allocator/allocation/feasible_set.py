"""The feasible set: all usable choices of ranks that fit a budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.factorizations import Counts, Flags
from allocator.errors import BudgetError

ENUMERATION_LIMIT = 1_000_000
_CHUNK = 2_000_000  # grid points that are tested together: 16 MB for each array of 64-bit counts


class FeasibleSet:
    """The usable ranks of one adapter shape whose adapter has at most `budget` parameters.

    The grid of all choices is tested row by row. Along a row only one rank varies, the one with the
    most choices. Up to a million feasible points are kept. For a larger set, only the number of
    feasible points in each row is kept, which is enough to sample uniformly.

    Args:
        shape: The adapter shape.
        choices: Allowed ranks per name in `shape.rank_names`.
        budget: Largest number of trainable adapter parameters.

    Raises:
        BudgetError: If the budget is not a positive integer, or nothing fits it.
    """

    def __init__(
        self, shape: AdapterShape, choices: Mapping[str, Sequence[int]], budget: int
    ) -> None:
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
            raise BudgetError(f"budget must be a positive integer, got {budget!r}")
        self.shape, self.budget, self.names = shape, budget, shape.rank_names
        self._choices = {
            name: np.unique(np.asarray(choices[name], dtype=np.int64)) for name in self.names
        }
        self._require_one_that_fits()
        self._drop_choices_beyond_budget()
        self._limited: dict[int, FeasibleSet] = {}
        self._varying = max(self.names, key=lambda name: len(self._choices[name]))
        self._fixed = [name for name in self.names if name != self._varying]
        row_lengths = [len(self._choices[name]) for name in self._fixed]
        self._rows = np.indices(row_lengths).reshape(len(row_lengths), math.prod(row_lengths))
        self._row_counts = np.concatenate([flags.sum(axis=1) for _, flags in self._test_all_rows()])
        self.size = int(self._row_counts.sum())
        if self.size == 0:
            raise BudgetError(f"no usable ranks of {shape.construction} fit a budget of {budget:,}")

    @property
    def choices(self) -> Mapping[str, Counts]:
        """Allowed ranks per name, ascending, without those that no choice within the budget has."""
        return self._choices

    @cached_property
    def points(self) -> Counts | None:
        """All feasible points, shape (size, names), or None if there are over a million."""
        if self.size > ENUMERATION_LIMIT:
            return None
        chunks = []
        for start, flags in self._test_all_rows():
            row, column = np.nonzero(flags)
            chunks.append(self._convert_to_points(row + start, column))
        return np.concatenate(chunks)

    def limit(self, budget: int) -> FeasibleSet:
        """Return the feasible set within a smaller budget.

        Raises:
            BudgetError: If nothing fits it.
        """
        if budget not in self._limited:
            listed = {name: choices.tolist() for name, choices in self._choices.items()}
            self._limited[budget] = FeasibleSet(self.shape, listed, budget)
        return self._limited[budget]

    def is_feasible(self, points: Counts) -> Flags:
        """Whether each point of shape (n, names) is feasible, shape (n,)."""
        within = [np.isin(points[:, i], self._choices[name]) for i, name in enumerate(self.names)]
        return np.asarray(np.all([*within, self._fits(self.points_to_ranks(points))], axis=0))

    def contains(self, ranks: Mapping[str, int]) -> bool:
        """Whether one choice of ranks is feasible."""
        return bool(self.is_feasible(np.array([[ranks[name] for name in self.names]]))[0])

    def sample(self, n: int, rng: np.random.Generator) -> Counts:
        """Draw `n` points uniformly and independently, shape (n, names)."""
        if self.points is not None:
            return self.points[rng.integers(self.size, size=n)]
        # A number below `size` is the index of a point among all feasible ones, in the order of the
        # rows. The cumulative counts show its row, and the remainder is its index among the row's
        # feasible points. Only the rows that were drawn are tested again.
        ends = np.cumsum(self._row_counts)
        drawn = rng.integers(self.size, size=n)
        rows = np.searchsorted(ends, drawn, side="right")
        nth = drawn - (ends[rows] - self._row_counts[rows])  # index in its row
        flags = self._test_rows(rows)
        # The first column with more than `nth` feasible points up to it is the nth feasible one.
        return self._convert_to_points(
            rows, np.argmax(np.cumsum(flags, axis=1) > nth[:, None], axis=1)
        )

    def count_parameters(self, points: Counts) -> Counts:
        """Count the trainable parameters of points of shape (n, names), shape (n,)."""
        return self.shape.count_parameters(self.points_to_ranks(points))

    def find_smallest(self) -> dict[str, int]:
        """Find the feasible ranks with the fewest parameters."""
        return self._find_extreme(largest=False)

    def find_largest(self) -> dict[str, int]:
        """Find feasible ranks with the most parameters."""
        return self._find_extreme(largest=True)

    def find_uniform(self) -> dict[str, int]:
        """Find the largest equal ranks that are feasible, each capped at its largest choice.

        If no such ranks are feasible, find the feasible ranks with the most parameters.
        """
        for rank in range(max(int(c[-1]) for c in self._choices.values()), 0, -1):
            # A mode without this choice takes its next smaller one, or else its smallest.
            capped = {
                name: int(choices[max(int(np.searchsorted(choices, rank, side="right")) - 1, 0)])
                for name, choices in self._choices.items()
            }
            if self.contains(capped):
                return capped
        return self.find_largest()

    def points_to_ranks(self, points: Counts) -> dict[str, Counts]:
        """Split points of shape (..., names) into one array per rank name."""
        return {name: points[..., i] for i, name in enumerate(self.names)}

    def point_to_ranks(self, point: Counts) -> dict[str, int]:
        """Convert one point of shape (names,) to ranks by name."""
        return {name: int(value) for name, value in zip(self.names, point, strict=True)}

    def _require_one_that_fits(self) -> None:
        least = {name: int(choices[0]) for name, choices in self._choices.items()}
        smallest = self.shape.num_parameters(least)
        if smallest > self.budget:
            ranks = ", ".join(f"{name} {rank}" for name, rank in least.items())
            raise BudgetError(
                f"budget must be at least {smallest:,} (the smallest {self.shape.construction} "
                f"adapter of this space, ranks {ranks}), got {self.budget:,}",
                smallest,
            )

    def _drop_choices_beyond_budget(self) -> None:
        """Drop the ranks that exceed the budget even if all other ranks are smallest."""
        least: dict[str, int | Counts] = {
            name: int(choices[0]) for name, choices in self._choices.items()
        }
        for name, choices in self._choices.items():
            fits = self.shape.count_parameters({**least, name: choices}) <= self.budget
            self._choices[name] = choices[fits]

    def _fits(self, ranks: Mapping[str, Counts]) -> Flags:
        return np.asarray(
            (self.shape.count_parameters(ranks) <= self.budget) & self.shape.is_usable(ranks)
        )

    def _test_rows(self, rows: Counts) -> Flags:
        """Test whole rows, shape (len(rows), choices of the rank that varies along a row)."""
        # Fixed ranks have shape (rows, 1) and the varying one (1, choices), so counts broadcast.
        ranks = {
            name: self._choices[name][self._rows[i, rows]][:, None]
            for i, name in enumerate(self._fixed)
        }
        return np.broadcast_to(
            self._fits({**ranks, self._varying: self._choices[self._varying][None, :]}),
            (len(rows), len(self._choices[self._varying])),
        )

    def _test_all_rows(self) -> Iterator[tuple[int, Flags]]:
        """Test all rows in chunks; yield the index of each first row and the flags."""
        step = max(1, _CHUNK // len(self._choices[self._varying]))
        for start in range(0, self._rows.shape[1], step):
            stop = min(start + step, self._rows.shape[1])
            yield start, self._test_rows(np.arange(start, stop))

    def _convert_to_points(self, rows: Counts, columns: Counts) -> Counts:
        by_name = {
            name: self._choices[name][self._rows[i, rows]] for i, name in enumerate(self._fixed)
        }
        by_name[self._varying] = self._choices[self._varying][columns]
        return np.stack([by_name[name] for name in self.names], axis=1)

    def _find_extreme(self, *, largest: bool) -> dict[str, int]:
        best: tuple[int, Counts] | None = None
        for start, flags in self._test_all_rows():
            row, column = np.nonzero(flags)
            if not len(row):
                continue
            points = self._convert_to_points(row + start, column)
            counts = self.count_parameters(points)
            index = int(np.argmax(counts) if largest else np.argmin(counts))
            if best is None or (counts[index] > best[0]) == largest:
                best = int(counts[index]), points[index]
        assert best is not None  # the set is not empty
        return self.point_to_ranks(best[1])
