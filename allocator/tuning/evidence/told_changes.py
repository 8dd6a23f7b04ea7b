"""What can be told of an effect: the changes that are larger than what is not known of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from allocator.tuning.evidence.marginal_effects import MarginalEffect

BAND = 2.0
"""Standard deviations of a difference to either side that its band has."""

TOLD = 2.5
"""Standard deviations of a difference that it must exceed to be told.

More than a band, because a sentence picks among all pairs of values: in 60 searches of 64
trainings on a surface of known effects, 9 of 117 changes that exceeded twice their standard
deviation were false, and 2 of 56 at this multiple.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A difference that can be told: from one value of a parameter to a larger one.

    Attributes:
        start: Place of the smaller value.
        end: Place of the larger value.
        difference: Objective at the larger value minus that at the smaller.
        error: Standard deviation of the difference.
    """

    start: int
    end: int
    difference: float
    error: float


def find_changes(effect: MarginalEffect) -> list[Change]:
    """Find what can be told of an effect: its changes, ascending and apart from each other.

    A difference between two values is told if it exceeds two and a half of its standard deviations
    (`TOLD`). The largest of them is taken, and shortened at either end as long as nothing can be
    told of the part that is left off; then the largest below it, and above it.
    """
    return [
        Change(
            start=start,
            end=end,
            difference=float(effect.differences[start, end]),
            error=float(effect.errors[start, end]),
        )
        for start, end in _list_told(effect, 0, len(effect.values) - 1)
    ]


def _list_told(effect: MarginalEffect, low: int, high: int) -> Iterator[tuple[int, int]]:
    differences = np.abs(effect.differences)
    told = differences > TOLD * effect.errors
    pairs = [pair for pair in itertools.combinations(range(low, high + 1), 2) if told[pair]]
    if not pairs:
        return
    first, last = max(pairs, key=lambda pair: float(differences[pair]))
    end = next(
        place
        for place in range(first + 1, last + 1)
        if told[first, place] and not told[place, place + 1 : last + 1].any()
    )
    start = next(
        place
        for place in range(end - 1, first - 1, -1)
        if told[place, end] and not told[first:place, place].any()
    )
    yield from _list_told(effect, low, first)
    yield start, end
    yield from _list_told(effect, last, high)
