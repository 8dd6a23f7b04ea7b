"""Priors whose ranks are in proportion to what the baseline shows of each mode."""

from __future__ import annotations

import math
from statistics import median

from allocator.allocation import FeasibleSet
from allocator.tuning.priors.baseline_evidence import Baseline
from allocator.tuning.priors.scaling import list_proportional_ranks


def propose_by_entropy(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List ranks in proportion to the effective rank exp(H) of every mode of the trained core.

    H is the entropy of the normalised energies of the mode's unfolding (Roy and Vetterli 2007).
    """
    return list_proportional_ranks(feasible, baseline.average_modes("effective_rank"))


def propose_uniform(feasible: FeasibleSet) -> list[dict[str, int]]:
    """List the largest uniform rank within the budget, each capped at what its mode can use.

    Then the same within a half and a quarter of the budget.
    """
    first = feasible.find_uniform()
    smaller = list_proportional_ranks(feasible, {})
    return [first, *(ranks for ranks in smaller if ranks != first)]


def propose_by_tenslora_plus(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List the baseline's ranks with busy modes raised and idle ones lowered.

    The published procedure is by hand: modes of high normalised entropy and low top-1 energy get
    more rank, those of low entropy and high top-1 energy less. Here high and low mean above and
    below the median over modes; a mode that is both busy by entropy and by top-1 energy has its
    rank doubled, one that is idle by both has it halved, the others stay. The result is then
    scaled to the budget, so that what idle modes free goes to all others.
    """
    evenness = baseline.average_modes("normalized_entropy")
    peak = baseline.average_modes("top1_energy")
    even, peaked = median(evenness.values()), median(peak.values())
    weights = {}
    for mode, rank in baseline.ranks.items():
        is_busy = evenness[mode] > even and peak[mode] < peaked
        is_idle = evenness[mode] < even and peak[mode] > peaked
        weights[mode] = rank * (2.0 if is_busy else 0.5 if is_idle else 1.0)
    return list_proportional_ranks(feasible, weights)


def propose_by_gradient(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List ranks in proportion to the mean gradient norm of one column of every factor.

    A factor's norm grows with the root of its number of columns, its rank, by itself; the mean
    over columns is comparable between modes whose ranks differ.
    """
    norms = baseline.average_gradient_norms()
    return list_proportional_ranks(
        feasible,
        {
            mode: norms[mode] / math.sqrt(rank)
            for mode, rank in baseline.ranks.items()
            if mode in norms
        },
    )
