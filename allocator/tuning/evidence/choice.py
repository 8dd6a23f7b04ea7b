"""The choice of a study among the allocations that it has tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.evidence.expectations import Expectations
from allocator.tuning.space.space import Space
from allocator.tuning.storage.trial_memory import BASELINE

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
    """The choice of a study, beside its baseline and rivals.

    Attributes:
        best: The allocation that is chosen; it may be the baseline or a rival.
        compared: The baseline, and every rival at its best learning rate, by their names; those
            that are not sound are missing.
    """

    best: Choice
    compared: Mapping[str, Choice]

    @property
    def baseline(self) -> Choice | None:
        """The uniform-rank baseline; None if it is not sound."""
        return self.compared.get(BASELINE)

    @property
    def opponents(self) -> dict[str, Choice]:
        """What the choice is compared with: `compared` without the choice's own kind."""
        own = self.best.allocation.rival
        return {name: choice for name, choice in self.compared.items() if name != own}


def select_best(space: Space, expectations: Expectations) -> Selection:
    """Choose the allocation of which most is expected, and of several the smallest.

    Allocations that lie closer to the best than `TIE` are as good as it, as far as can be told; the
    one with the fewest parameters is chosen. Rivals over the budget are no choice.

    Args:
        space: The study's space.
        expectations: What is expected of its allocations.

    Raises:
        StudyError: If no allocation within the budget is sound.
    """
    eligible = expectations.keep(lambda a: space.fits_budget(a.params))
    leader = int(np.argmax(eligible.mean))
    behind = eligible.mean[leader] - eligible.mean
    tied = np.flatnonzero(behind <= TIE * eligible.compute_difference_errors(leader))
    choices = _list_choices(eligible)
    best = min(
        {leader, *tied.tolist()},
        key=lambda i: (space.num_parameters(choices[i].allocation.params), behind[i]),
    )
    return Selection(best=choices[best], compared=_find_compared(expectations))


def _list_choices(expectations: Expectations) -> list[Choice]:
    return [
        Choice(allocation=allocation, expected=float(value))
        for allocation, value in zip(expectations.allocations, expectations.values, strict=True)
    ]


def _find_compared(expectations: Expectations) -> dict[str, Choice]:
    """Find the baseline and every rival at its best rate, the baseline first."""
    choices = _list_choices(expectations)
    compared: dict[str, Choice] = {}
    for place in np.argsort(-expectations.mean, kind="stable"):
        name = choices[place].allocation.rival
        if name is not None:
            compared.setdefault(name, choices[place])
    names = sorted(compared, key=lambda name: name != BASELINE)
    return {name: compared[name] for name in names}
