"""The feasible set: every choice of ranks that fits a budget and wastes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.factorizations import Counts, Flags
from allocator.errors import BudgetError

ENUMERATION_LIMIT = 1_000_000
_CHUNK = 2_000_000  # grid points looked at together; bounds memory, not the set


class FeasibleSet:
    """The usable ranks of one adapter shape whose adapter has at most `budget` parameters.

    The grid of choices is walked row by row: a row fixes all ranks but the one with most choices.
    Up to a million feasible points are kept; of a larger set only each row's count is, which is
    enough to sample it exactly.

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
        self._last = max(self.names, key=lambda name: len(self._choices[name]))
        self._row_names = [name for name in self.names if name != self._last]
        row_lengths = [len(self._choices[name]) for name in self._row_names]
        self._rows = np.indices(row_lengths).reshape(len(row_lengths), math.prod(row_lengths))
        self._row_counts = np.concatenate([flags.sum(axis=1) for _, flags in self._walk()])
        self.size = int(self._row_counts.sum())
        if self.size == 0:
            raise BudgetError(f"no usable ranks of {shape.construction} fit a budget of {budget:,}")

    @property
    def choices(self) -> Mapping[str, Counts]:
        """Allowed ranks per name, ascending, less those that no budget-keeping choice has."""
        return self._choices

    @cached_property
    def points(self) -> Counts | None:
        """All feasible ranks, shape (size, names), or None where there are over a million."""
        if self.size > ENUMERATION_LIMIT:
            return None
        found = []
        for start, flags in self._walk():
            row, column = np.nonzero(flags)
            found.append(self._to_points(row + start, column))
        return np.concatenate(found)

    def is_feasible(self, points: Counts) -> Flags:
        """Tell which points of shape (n, names) are feasible, shape (n,)."""
        within = [np.isin(points[:, i], self._choices[name]) for i, name in enumerate(self.names)]
        return np.asarray(np.all([*within, self._fits(self.points_to_ranks(points))], axis=0))

    def contains(self, ranks: Mapping[str, int]) -> bool:
        """Tell whether one choice of ranks is feasible."""
        return bool(self.is_feasible(np.array([[ranks[name] for name in self.names]]))[0])

    def sample(self, n: int, rng: np.random.Generator) -> Counts:
        """Draw `n` points uniformly and independently, shape (n, names)."""
        if self.points is not None:
            return self.points[rng.integers(self.size, size=n)]
        ends = np.cumsum(self._row_counts)
        drawn = rng.integers(self.size, size=n)
        rows = np.searchsorted(ends, drawn, side="right")
        nth = drawn - (ends[rows] - self._row_counts[rows])  # which feasible point of its row
        flags = self._row_flags(rows)
        return self._to_points(rows, np.argmax(np.cumsum(flags, axis=1) > nth[:, None], axis=1))

    def count_parameters(self, points: Counts) -> Counts:
        """Trainable parameters of points of shape (n, names), shape (n,)."""
        return self.shape.count_parameters(self.points_to_ranks(points))

    def find_smallest(self) -> dict[str, int]:
        """Give the feasible ranks of fewest parameters."""
        return self._extreme(largest=False)

    def find_largest(self) -> dict[str, int]:
        """Give feasible ranks of most parameters."""
        return self._extreme(largest=True)

    def find_uniform(self) -> dict[str, int]:
        """Give the largest uniform rank that fits, each capped at what its mode can use."""
        for rank in range(max(int(c[-1]) for c in self._choices.values()), 0, -1):
            capped = {
                name: int(choices[max(int(np.searchsorted(choices, rank, side="right")) - 1, 0)])
                for name, choices in self._choices.items()
            }
            if self.contains(capped):
                return capped
        return self.find_largest()

    def points_to_ranks(self, points: Counts) -> dict[str, Counts]:
        """Turn points of shape (..., names) into one array per rank name."""
        return {name: points[..., i] for i, name in enumerate(self.names)}

    def point_to_ranks(self, point: Counts) -> dict[str, int]:
        """Turn one point of shape (names,) into ranks by name."""
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

    def _row_flags(self, rows: Counts) -> Flags:
        """Feasibility of the whole rows, shape (len(rows), choices of the last rank)."""
        ranks = {
            name: self._choices[name][self._rows[i, rows]][:, None]
            for i, name in enumerate(self._row_names)
        }
        return np.broadcast_to(
            self._fits({**ranks, self._last: self._choices[self._last][None, :]}),
            (len(rows), len(self._choices[self._last])),
        )

    def _walk(self) -> Iterator[tuple[int, Flags]]:
        step = max(1, _CHUNK // len(self._choices[self._last]))
        for start in range(0, self._rows.shape[1], step):
            yield start, self._row_flags(np.arange(start, min(start + step, self._rows.shape[1])))

    def _to_points(self, rows: Counts, columns: Counts) -> Counts:
        by_name = {
            name: self._choices[name][self._rows[i, rows]] for i, name in enumerate(self._row_names)
        }
        by_name[self._last] = self._choices[self._last][columns]
        return np.stack([by_name[name] for name in self.names], axis=1)

    def _extreme(self, *, largest: bool) -> dict[str, int]:
        best: tuple[int, Counts] | None = None
        for start, flags in self._walk():
            row, column = np.nonzero(flags)
            if not len(row):
                continue
            points = self._to_points(row + start, column)
            counts = self.count_parameters(points)
            at = int(np.argmax(counts) if largest else np.argmin(counts))
            if best is None or (counts[at] > best[0]) == largest:
                best = int(counts[at]), points[at]
        assert best is not None  # the set is not empty
        return self.point_to_ranks(best[1])
