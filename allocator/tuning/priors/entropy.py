"""Prior `entropy`: ranks as large as what the baseline's core uses of each mode."""

from __future__ import annotations

from allocator.allocation import FeasibleSet
from allocator.tuning.priors.evidence import Baseline
from allocator.tuning.priors.scaling import proportional


def entropy(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List ranks in proportion to the effective rank exp(H) of every mode of the trained core.

    H is the entropy of the normalised energies of the mode's unfolding (Roy and Vetterli 2007).
    """
    return proportional(feasible, baseline.summary("effective_rank"))
