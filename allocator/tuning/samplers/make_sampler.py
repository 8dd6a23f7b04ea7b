"""Make the sampler that `--sampler` names."""

from __future__ import annotations

from optuna.samplers import BaseSampler

from allocator.tuning.names import SamplerName
from allocator.tuning.samplers.feasible_sampler import RandomFeasibleSampler
from allocator.tuning.samplers.gp_sampler import PRIOR_STRENGTH, FeasibleGPSampler
from allocator.tuning.samplers.tpe_sampler import ProjectedTPESampler
from allocator.tuning.space.space import Space


def make_sampler(
    name: SamplerName,
    space: Space,
    *,
    seed: int,
    final_step: int,
    prior_strength: float = PRIOR_STRENGTH,
) -> BaseSampler:
    """Make a sampler by its name.

    Args:
        name: The sampler's name.
        space: The search space.
        seed: Seed of the study.
        final_step: Boundaries of a whole trial; pruned trials end before the last.
        prior_strength: Power of the prior's density before any trial; only `gp` uses it.
    """
    match name:
        case "gp":
            return FeasibleGPSampler(
                space, seed=seed, final_step=final_step, prior_strength=prior_strength
            )
        case "tpe":
            return ProjectedTPESampler(space, seed=seed)
        case "random":
            return RandomFeasibleSampler(space, seed=seed)
