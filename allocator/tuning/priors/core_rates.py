"""Learning rates to go with a prior's ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from allocator.tuning.space.points import read_bounds
from allocator.tuning.space.space import Params, Space

_CORE_RATES = (4e-3, 2e-3, 8e-3, 1.6e-2)
"""Learning rates of the core that train well, the best guess first.

Measured with MiniLM on CoLA, five seeds (the sweep in tests/benchmarks/README.md): 4e-3 scored
0.040 above 1e-3, 8e-3 0.034 below it, and at 1.6e-2 four of five trainings collapsed.
"""


def list_core_multipliers(space: Space, base: Params) -> list[dict[str, float]]:
    """List core learning-rate multipliers to try, best guess first.

    Lambda times the base rate decides stability, so lambdas are chosen by that product, and then
    moved into the space's range.

    Args:
        space: The search space.
        base: Parameters of the uniform-rank baseline, whose learning rate is kept.

    Returns:
        Parameters that replace the baseline's; one empty mapping where lambda is not searched.
    """
    name = "core_lr_multiplier"
    if name not in space.distributions:
        return [{}]
    low, high = read_bounds(space.distributions[name])
    rate = float({**space.fixed, **base}["learning_rate"])
    lambdas = [min(max(core_rate / rate, low), high) for core_rate in _CORE_RATES]
    return [{name: value} for value in dict.fromkeys(lambdas)]


def pair_with_rates(
    tiers: Sequence[Sequence[Params]], rates: Sequence[Mapping[str, float]]
) -> list[dict[str, float | str]]:
    """Pair every allocation with every choice of rates, best guess first.

    A pair stands by the sum of its tier and its place among the rates; of equal sums the better
    guess of rates comes first, so that ranks are varied before rates are.

    Args:
        tiers: Allocations, those of one tier being equally good guesses.
        rates: Parameters that replace an allocation's.
    """
    pairs = sorted(
        ((i + j, j) for i in range(len(tiers)) for j in range(len(rates))),
    )
    return [{**allocation, **rates[j]} for total, j in pairs for allocation in tiers[total - j]]
