"""The choice of a study among the allocations that it has tried, for each of its budgets."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.errors import StudyError
from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.evidence.expectations import Expectations
from allocator.tuning.space.space import RIVAL, Space, make_baseline_params
from allocator.tuning.storage.trial_memory import BASELINE

TIE = 0.1
"""Smallest difference between two allocations that counts, in units of its standard deviation."""

WITHIN = 0.5
"""Standard errors that the smallest choice may be expected to lose to the best; see there."""


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
    """The choice of a study within a budget, beside its baseline and rivals.

    Attributes:
        budget: The budget.
        best: The allocation that is chosen; it may be the baseline or a rival.
        compared: The budget's baseline, and every rival at its best learning rate, by their names;
            those that are not sound are missing.
    """

    budget: int
    best: Choice
    compared: Mapping[str, Choice]

    @property
    def baseline(self) -> Choice | None:
        """The uniform-rank baseline; None if it is not sound."""
        return self.compared.get(BASELINE)

    @property
    def is_baseline(self) -> bool:
        """Whether the choice is the baseline."""
        own = self.best.allocation.params
        return self.baseline is not None and self.baseline.allocation.params == own

    @property
    def opponents(self) -> dict[str, Choice]:
        """What the choice is compared with: `compared` without the choice's own kind."""
        own = self.best.allocation
        return {
            name: choice
            for name, choice in self.compared.items()
            if name != own.rival and choice.allocation.params != own.params
        }


def select_best(space: Space, expectations: Expectations, budget: int | None = None) -> Selection:
    """Choose the allocation of which most is expected, and of several the smallest.

    Allocations that lie closer to the best than `TIE` are as good as it, as far as can be told; the
    one with the fewest parameters is chosen. Rivals over the budget are no choice.

    Args:
        space: The study's space.
        expectations: What is expected of its allocations.
        budget: One of the space's budgets, by default the largest.

    Raises:
        StudyError: If no allocation within the budget is sound.
    """
    budget = budget or space.feasible.budget
    eligible = expectations.keep(lambda a: space.fits_budget(a.params, budget))
    leader = int(np.argmax(eligible.mean))
    behind = eligible.mean[leader] - eligible.mean
    tied = np.flatnonzero(behind <= TIE * eligible.compute_difference_errors(leader))
    choices = _list_choices(eligible)
    best = min(
        {leader, *tied.tolist()},
        key=lambda i: (space.num_parameters(choices[i].allocation.params), behind[i]),
    )
    return Selection(
        budget=budget, best=choices[best], compared=_find_compared(space, expectations, budget)
    )


def select_front(space: Space, expectations: Expectations) -> tuple[Selection, ...]:
    """Choose an allocation for every budget of a space, the smallest budget first.

    Budgets within which no allocation is sound are left out.

    Raises:
        StudyError: If no allocation within the largest budget is sound.
    """
    front = []
    for budget in space.smaller_budgets:
        with contextlib.suppress(StudyError):
            front.append(select_best(space, expectations, budget))
    return (*front, select_best(space, expectations))


def list_compared(front: Sequence[Selection]) -> list[TriedAllocation]:
    """List the choices of all budgets and their opponents, each allocation once."""
    compared: list[TriedAllocation] = []
    for selection in front:
        for choice in (selection.best, *selection.opponents.values()):
            if all(choice.allocation.params != allocation.params for allocation in compared):
                compared.append(choice.allocation)
    return compared


def find_smallest(
    space: Space, expectations: Expectations, front: Sequence[Selection]
) -> Selection:
    """Find the smallest choice that is not worse by a standard error than the largest budget's.

    It is the choice of fewest parameters whose expected value is within half a standard error of
    the best's. There it is as likely to be worse by more than a whole one as to be no worse at all,
    so that naming it and passing it over err alike. The one-standard-error rule (Breiman et al.
    1984, Classification and Regression Trees, section 3.4.3) names what is expected within a whole
    one: of the choices at its edge every second is worse by more. The error is that of the
    difference, as both were trained with the same seeds.

    Args:
        space: The study's space.
        expectations: What is expected of its allocations, by the trainings of the verdict too.
            Each choice is the luckiest of many, and is lucky by more the more there were; its
            trainings after the choice are not.
        front: The choices of its budgets. One that is not sound any more is passed over, and if the
            largest budget's is not, it is the answer, as nothing can be compared with it.
    """
    places = {s.budget: expectations.find(s.best.allocation) for s in front}
    best = places[front[-1].budget]
    if best is None:
        return front[-1]
    errors = expectations.compute_difference_errors(best)

    def is_as_good(selection: Selection) -> bool:
        place = places[selection.budget]
        if place is None:
            return False
        behind = expectations.mean[best] - expectations.mean[place]
        return bool(behind <= WITHIN * errors[place])

    as_good = filter(is_as_good, front)  # the best is, with a difference of 0
    return min(as_good, key=lambda s: space.num_parameters(s.best.allocation.params))


def _list_choices(expectations: Expectations) -> list[Choice]:
    return [
        Choice(allocation=allocation, expected=float(value))
        for allocation, value in zip(expectations.allocations, expectations.values, strict=True)
    ]


def _find_compared(space: Space, expectations: Expectations, budget: int) -> dict[str, Choice]:
    """Find the baseline and every rival at its best rate, the baseline first."""
    choices = _list_choices(expectations)
    own = next((c for c in choices if _is_baseline(space, c.allocation, budget)), None)
    compared = {} if own is None else {BASELINE: own}
    # Rivals over the budget are listed only for the largest.
    rivals = {v.choice[RIVAL] for v in space.rivals}
    for place in np.argsort(-expectations.mean, kind="stable"):
        allocation = choices[place].allocation
        is_told = budget == space.feasible.budget or space.fits_budget(allocation.params, budget)
        if allocation.rival in rivals and is_told:
            compared.setdefault(allocation.rival, choices[place])
    return compared


def _is_baseline(space: Space, allocation: TriedAllocation, budget: int) -> bool:
    """Whether an allocation is a budget's uniform baseline; two budgets may have the same."""
    if budget == space.feasible.budget:
        return allocation.is_baseline
    return allocation.params == make_baseline_params(space, budget)
