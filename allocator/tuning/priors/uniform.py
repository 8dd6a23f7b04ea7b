"""Prior `uniform`: the same rank in every mode."""

from __future__ import annotations

from allocator.allocation import FeasibleSet
from allocator.tuning.priors.scaling import proportional


def uniform(feasible: FeasibleSet) -> list[dict[str, int]]:
    """List the largest uniform rank within the budget, each capped at what its mode can use.

    Then the same within a half and a quarter of the budget.
    """
    first = feasible.uniform()
    smaller = proportional(feasible, {})
    return [first, *(ranks for ranks in smaller if ranks != first)]
