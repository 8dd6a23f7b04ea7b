"""Prior `gradient`: ranks as large as the gradients that reach each factor."""

from __future__ import annotations

import math

from allocator.allocation import FeasibleSet
from allocator.tuning.priors.evidence import Baseline
from allocator.tuning.priors.scaling import proportional


def gradient(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List ranks in proportion to the mean gradient norm of one column of every factor.

    A factor's norm grows with the root of its number of columns, its rank, by itself; the mean
    over columns is comparable between modes whose ranks differ.
    """
    norms = baseline.gradient_norms()
    return proportional(
        feasible,
        {
            mode: norms[mode] / math.sqrt(rank)
            for mode, rank in baseline.ranks.items()
            if mode in norms
        },
    )
