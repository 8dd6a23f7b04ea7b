"""Priors that propose ranks in proportion to a measurement of each mode of the baseline."""

from __future__ import annotations

import math
from statistics import median

from allocator.allocation.feasible_set import FeasibleSet
from allocator.tuning.priors.baseline_evidence import Baseline
from allocator.tuning.priors.scaling import list_proportional_ranks


def propose_by_entropy(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List ranks in proportion to the effective rank exp(H) of each mode of the trained core.

    H is the entropy of the normalised squared singular values of the core's unfolding in that mode
    (Roy and Vetterli 2007).
    """
    return list_proportional_ranks(feasible, baseline.average_modes("effective_rank"))


def propose_uniform(feasible: FeasibleSet) -> list[dict[str, int]]:
    """List the largest uniform ranks within the budget, then within half and a quarter of it.

    Each rank is capped at what its mode can use.
    """
    first = feasible.find_uniform()
    smaller = list_proportional_ranks(feasible, {})  # without weights, all ranks are equal
    return [first, *(ranks for ranks in smaller if ranks != first)]


def propose_by_tenslora_plus(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List the baseline's ranks with those of busy modes raised and those of idle modes lowered.

    TensLoRA+ does this by hand: modes of high normalised entropy and low top-1 energy get higher
    ranks, modes of low entropy and high top-1 energy lower ones. Here high and low mean above and
    below the median over modes. The rank of a mode that is busy by both measures is doubled, and
    the rank of one that is idle by both is halved. The result is scaled to the budget, so that all
    modes share the parameters that idle modes no longer use.
    """
    evenness = baseline.average_modes("normalized_entropy")
    concentration = baseline.average_modes("top1_energy")
    median_evenness = median(evenness.values())
    median_concentration = median(concentration.values())
    weights = {}
    for mode, rank in baseline.ranks.items():
        # Strict: a mode at the median of either measure keeps its rank.
        is_busy = evenness[mode] > median_evenness and concentration[mode] < median_concentration
        is_idle = evenness[mode] < median_evenness and concentration[mode] > median_concentration
        weights[mode] = rank * (2.0 if is_busy else 0.5 if is_idle else 1.0)
    return list_proportional_ranks(feasible, weights)


def propose_by_gradient(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List ranks in proportion to the gradient norm of a typical column of each mode's factor.

    The norm of a whole factor's gradient grows with the root of its number of columns, which is its
    rank. Divided by that root, norms of modes with different ranks are comparable.
    """
    norms = baseline.average_gradient_norms()
    return list_proportional_ranks(
        feasible,
        {
            # A mode that is left out gets the geometric mean of the other weights.
            mode: norms[mode] / math.sqrt(rank)
            for mode, rank in baseline.ranks.items()
            if mode in norms
        },
    )
