"""The choice of a study among the allocations that it has tried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.evidence.expectations import Expectations
from allocator.tuning.space.space import Space

TIE = 0.1
"""Smallest difference between two allocations that counts, in units of its standard deviation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An allocation, and what the study expects of it.

    Attributes:
        allocation: The allocation.
        expected: Expected value of the objective.
    """

    allocation: TriedAllocation
    expected: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The choice of a study, beside its baseline.

    Attributes:
        best: The allocation that is chosen.
        baseline: The uniform-rank baseline; None if it is not sound.
    """

    best: Choice
    baseline: Choice | None


def select_best(space: Space, expectations: Expectations) -> Selection:
    """Choose the allocation of which most is expected, and of several the smallest.

    Allocations that lie closer to the best than `TIE` are as good as it, as far as can be told; the
    one with the fewest parameters is chosen.

    Args:
        space: The study's space.
        expectations: What is expected of its allocations.
    """
    leader = int(np.argmax(expectations.mean))
    behind = expectations.mean[leader] - expectations.mean
    tied = np.flatnonzero(behind <= TIE * expectations.compute_difference_errors(leader))
    choices = [
        Choice(allocation=allocation, expected=float(value))
        for allocation, value in zip(expectations.allocations, expectations.values, strict=True)
    ]
    best = min(
        {leader, *tied.tolist()},
        key=lambda i: (space.num_parameters(choices[i].allocation.params), behind[i]),
    )
    return Selection(
        best=choices[best],
        baseline=next((c for c in choices if c.allocation.is_baseline), None),
    )
