"""Prior `tenslora_plus`: the baseline's ranks, moved by hand-made rules from its spectra."""

from __future__ import annotations

from statistics import median

from allocator.allocation import FeasibleSet
from allocator.tuning.priors.evidence import Baseline
from allocator.tuning.priors.scaling import proportional


def tenslora_plus(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List the baseline's ranks with busy modes raised and idle ones lowered.

    The published procedure is by hand: modes of high normalised entropy and low top-1 energy get
    more rank, those of low entropy and high top-1 energy less. Here high and low mean above and
    below the median over modes; a mode that is both busy by entropy and by top-1 energy has its
    rank doubled, one that is idle by both has it halved, the others stay. The result is then
    scaled to the budget, so that what idle modes free goes to all others.
    """
    evenness = baseline.summary("normalized_entropy")
    peak = baseline.summary("top1_energy")
    even, peaked = median(evenness.values()), median(peak.values())
    weights = {}
    for mode, rank in baseline.ranks.items():
        is_busy = evenness[mode] > even and peak[mode] < peaked
        is_idle = evenness[mode] < even and peak[mode] > peaked
        weights[mode] = rank * (2.0 if is_busy else 0.5 if is_idle else 1.0)
    return proportional(feasible, weights)
