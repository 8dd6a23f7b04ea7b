"""Priors by the names that a user gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from allocator.allocation import FeasibleSet
from allocator.tuning.names import STUDY_PRIOR
from allocator.tuning.priors.baseline_evidence import Baseline
from allocator.tuning.priors.core_rates import list_core_multipliers, pair_with_rates
from allocator.tuning.priors.other_study import list_best_of_study
from allocator.tuning.priors.predicted_loss import propose_by_truncation
from allocator.tuning.priors.prior import Prior
from allocator.tuning.priors.proportional import (
    propose_by_entropy,
    propose_by_gradient,
    propose_by_tenslora_plus,
    propose_uniform,
)
from allocator.tuning.space.space import Params, Space

_MEASURED: Mapping[str, Callable[[FeasibleSet, Baseline], list[dict[str, int]]]] = {
    "entropy": propose_by_entropy,
    "tenslora_plus": propose_by_tenslora_plus,
    "gradient": propose_by_gradient,
    "truncation": propose_by_truncation,
}


def require_prior_study(name: str, space: Space, studies_dir: Path) -> None:
    """Refuse `study:NAME` where that study has nothing to propose; other names pass.

    Raises:
        StudyError: Saying what the study lacks.
    """
    if name.startswith(STUDY_PRIOR):
        list_best_of_study(studies_dir / name.removeprefix(STUDY_PRIOR), space)


def needs_baseline(name: str) -> bool:
    """Tell whether a prior has to wait for the baseline."""
    return name in _MEASURED


def choose_supported_prior(name: str, space: Space, baseline: Baseline | None) -> str:
    """Say which prior is used where one is asked for: `uniform` where there is no evidence for it.

    Args:
        name: The prior that is asked for.
        space: The search space; one of several shapes has no evidence for all of them.
        baseline: What the baseline showed; None where it was not completed.
    """
    if not needs_baseline(name):
        return name
    if baseline is None or len(space.variants) > 1 or not space.shape.formulas.has_core:
        return "uniform"
    has_evidence = {
        "gradient": set(baseline.ranks) <= baseline.average_gradient_norms().keys(),
        "truncation": set(baseline.ranks) <= set(baseline.truncation["mode"]),
    }.get(name, set(baseline.ranks) <= baseline.average_modes("effective_rank").keys())
    return name if has_evidence else "uniform"


def make_prior(
    name: str,
    space: Space,
    base: Params,
    *,
    baseline: Baseline | None = None,
    starts: Sequence[Params] = (),
    studies_dir: Path = Path("studies"),
) -> Prior | None:
    """Make the prior of a name, or `uniform` where there is no evidence for it.

    Args:
        name: One of `PRIORS`, or `study:NAME`.
        space: The search space.
        base: Parameters of the uniform-rank baseline.
        baseline: What the baseline showed; None where that is not known.
        starts: A user's own guesses, which come first.
        studies_dir: Folder of all studies.

    Returns:
        The prior under the name of what was used; None where nothing is proposed.

    Raises:
        AllocatorError: If there is no prior of that name, or no such study.
    """
    used = choose_supported_prior(name, space, baseline)
    proposals: list[Params] = list(starts)
    if used.startswith(STUDY_PRIOR):
        proposals += list_best_of_study(studies_dir / used.removeprefix(STUDY_PRIOR), space)
    elif used != "none":
        proposals += pair_with_rates(
            _list_allocations(used, space, base, baseline), list_core_multipliers(space, base)
        )
    distinct = [p for i, p in enumerate(proposals) if p not in proposals[:i]]
    return Prior(name=used, space=space, proposals=tuple(distinct)) if distinct else None


def _list_allocations(
    name: str, space: Space, base: Params, baseline: Baseline | None
) -> list[list[Params]]:
    """List whole parameters at the baseline's rates: the first of every shape, the second, ..."""
    tiers: list[list[Params]] = []
    for variant in space.variants:
        listed: list[dict[str, int]] = []
        if baseline is not None and name in _MEASURED:
            listed = _MEASURED[name](variant.feasible, baseline)
        for place, ranks in enumerate(listed or propose_uniform(variant.feasible)):
            values: dict[str, float | str] = {**base, **variant.choice}
            values |= {variant.rank_parameters[n]: rank for n, rank in ranks.items()}
            tiers += [[]] if place == len(tiers) else []
            tiers[place].append({n: values[n] for n in space.searched(variant)})
    return tiers
