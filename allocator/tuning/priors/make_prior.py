"""Make the prior that `--prior` names.

A new prior that reads the baseline needs a function, one line in `_MEASURED`, and its name in
`allocator.tuning.names`; a name without an entry is refused when this module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from allocator.allocation.constructions import require_same_names
from allocator.allocation.feasible_set import FeasibleSet
from allocator.tuning.names import STUDY_PRIOR, PriorName
from allocator.tuning.priors.baseline_evidence import Baseline, Evidence
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


class _MeasuredPrior(NamedTuple):
    """The function with which a prior proposes ranks, and the baseline's table that it reads."""

    propose_ranks: Callable[[FeasibleSet, Baseline], list[dict[str, int]]]
    evidence: Evidence


_UNMEASURED = ("none", "uniform")  # need no baseline
_MEASURED: Mapping[str, _MeasuredPrior] = {
    "entropy": _MeasuredPrior(propose_by_entropy, "modes"),
    "tenslora_plus": _MeasuredPrior(propose_by_tenslora_plus, "modes"),
    "gradient": _MeasuredPrior(propose_by_gradient, "gradients"),
    "truncation": _MeasuredPrior(propose_by_truncation, "truncation"),
}
require_same_names("_MEASURED", [*_UNMEASURED, *_MEASURED], get_args(PriorName))


def require_prior_study(name: str, space: Space, studies_dir: Path) -> None:
    """Check that the study of a prior `study:NAME` has something to propose.

    Args:
        name: Name of a prior; nothing is checked unless it starts with `study:`.
        space: The search space.
        studies_dir: Folder of all studies.

    Raises:
        StudyError: If it has nothing to propose; the message gives the reason.
    """
    if name.startswith(STUDY_PRIOR):
        list_best_of_study(studies_dir / name.removeprefix(STUDY_PRIOR), space)


def needs_baseline(name: str) -> bool:
    """Whether the prior can only be made once the baseline has been trained."""
    return name in _MEASURED


def choose_supported_prior(name: str, space: Space, baseline: Baseline | None) -> str:
    """Choose the prior that can be made: the requested one, or `uniform` if evidence is missing.

    Args:
        name: Name of the requested prior.
        space: The search space. The baseline has its first shape, so there is no evidence for
            other shapes.
        baseline: The baseline's tables; None if it was not completed.
    """
    if not needs_baseline(name):
        return name
    if baseline is None or len(space.variants) > 1 or not space.shape.formulas.has_core:
        return "uniform"
    return name if baseline.covers_all_ranks(_MEASURED[name].evidence) else "uniform"


def make_prior(
    name: str,
    space: Space,
    baseline_params: Params,
    *,
    baseline: Baseline | None = None,
    starts: Sequence[Params] = (),
    studies_dir: Path = Path("studies"),
) -> Prior | None:
    """Make a prior by its name, or `uniform` if the evidence for it is missing.

    Args:
        name: A `PriorName`, or `study:NAME`.
        space: The search space.
        baseline_params: Parameters of the uniform-rank baseline.
        baseline: The baseline's tables; None if it was not completed.
        starts: The user's own allocations, which come first.
        studies_dir: Folder of all studies.

    Returns:
        The prior, under the name of the one that was made; None if nothing is proposed.

    Raises:
        StudyError: If `study:NAME` names no study, or one that has nothing to propose.
    """
    used = choose_supported_prior(name, space, baseline)
    proposals: list[Params] = list(starts)
    if used.startswith(STUDY_PRIOR):
        proposals += list_best_of_study(studies_dir / used.removeprefix(STUDY_PRIOR), space)
    elif used != "none":
        proposals += pair_with_rates(
            _list_allocations(used, space, baseline_params, baseline),
            list_core_multipliers(space, baseline_params),
        )
    # Mappings have no hash, so repeats are found by comparison.
    distinct = [p for i, p in enumerate(proposals) if p not in proposals[:i]]
    return Prior(name=used, space=space, proposals=tuple(distinct)) if distinct else None


def _list_allocations(
    name: str, space: Space, baseline_params: Params, baseline: Baseline | None
) -> list[list[Params]]:
    """List allocations at the baseline's rates, in tiers.

    Tier n holds the n-th proposal for every adapter shape of the space.

    Returns:
        All parameters of a trial for each allocation, by tier.
    """
    tiers: list[list[Params]] = []
    for variant in space.variants:
        listed: list[dict[str, int]] = []
        if baseline is not None and name in _MEASURED:
            listed = _MEASURED[name].propose_ranks(variant.feasible, baseline)
        # If no proportional choice is feasible, uniform ranks stand in.
        for tier, ranks in enumerate(listed or propose_uniform(variant.feasible)):
            values: dict[str, float | str] = {**baseline_params, **variant.choice}
            values |= {variant.rank_parameters[n]: rank for n, rank in ranks.items()}
            # The first variant that gets this far opens the tier.
            tiers += [[]] if tier == len(tiers) else []
            # Only what this variant searches; Optuna would ignore other keys in silence.
            tiers[tier].append({n: values[n] for n in space.list_searched(variant)})
    return tiers
