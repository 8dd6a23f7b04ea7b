"""The core learning rates at which a prior's ranks are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from allocator.tuning.space.points import read_bounds
from allocator.tuning.space.space import Params, Space

_CORE_RATES = (4e-3, 2e-3, 8e-3, 1.6e-2)
"""Learning rates of the core (lambda times the base rate), best guess first.

Measured with MiniLM on CoLA, five seeds (the sweep in tests/benchmarks/README.md): 4e-3 scored
0.040 above 1e-3, 8e-3 scored 0.034 below 1e-3, and at 1.6e-2 four of five trainings collapsed.
"""


def list_core_multipliers(space: Space, baseline_params: Params) -> list[dict[str, float]]:
    """List core learning-rate multipliers to try, best guess first.

    Lambda times the base rate decides whether training is stable. So lambdas are chosen for that
    product, and then clipped to the space's range.

    Args:
        space: The search space.
        baseline_params: Parameters of the uniform-rank baseline, whose base rate is kept.

    Returns:
        Parameters that replace the baseline's; one empty mapping if lambda is not searched.
    """
    name = "core_lr_multiplier"
    if name not in space.distributions:
        return [{}]
    low, high = read_bounds(space.distributions[name])
    # The base rate is searched, or fixed by the space file.
    base_rate = float({**space.fixed, **baseline_params}["learning_rate"])
    lambdas = [min(max(core_rate / base_rate, low), high) for core_rate in _CORE_RATES]
    # Clipped lambdas may coincide: drop repeats, keep the order.
    return [{name: value} for value in dict.fromkeys(lambdas)]


def pair_with_rates(
    tiers: Sequence[Sequence[Params]], rates: Sequence[Mapping[str, float]]
) -> list[dict[str, float | str]]:
    """Pair every allocation with every choice of rates, best guess first.

    Pairs are ordered by the sum of two indices, that of the allocation's tier and that of the
    rates. If sums are equal, the pair with the better guess of rates comes first, so that ranks
    vary before rates do.

    Args:
        tiers: Parameters of allocations, best tier first; within a tier all are equally good.
        rates: Parameters that replace those of an allocation, best guess first.

    Returns:
        Parameters of every pair.
    """
    pairs = sorted(
        ((i + j, j) for i in range(len(tiers)) for j in range(len(rates))),
    )
    return [{**allocation, **rates[j]} for total, j in pairs for allocation in tiers[total - j]]
