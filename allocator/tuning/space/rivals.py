"""Rivals: adapters that one would train without a search, with one rank throughout.

In a study's space a rival is a variant that no sampler proposes. Optuna's parameter `rival` tells
its trials from the others; its ranks are fixed, and only its learning rate varies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.constructions import BackboneShape
from allocator.allocation.feasible_set import FeasibleSet
from allocator.errors import BudgetError, SpaceError, UnknownNameError
from allocator.tuning.space.build_space import list_adapter_shapes, make_adapter_spec
from allocator.tuning.space.space import (
    RIVAL,
    Params,
    Space,
    Variant,
    join_variants,
    make_baseline_params,
)
from allocator.tuning.space.space_file import read_space

PRESETS: Mapping[str, str] = {
    "lora": "lora",
    "cp": "tenslora_att_qkv_depth_cp",
    "tt": "tt",
    "tucker": "tenslora_plus",
}
"""The preset of each `KindName`; each has a single shape on a backbone."""

_DEFAULTS = ("lora", "cp")


def make_kind_spec(kind: str, backbone: BackboneShape, *, scaling: float) -> AdapterSpec:
    """Make the specification of a kind of adapter, with the scaling of those it is compared with.

    Another scaling would change what learning rates mean.
    """
    preset = read_space(PRESETS[kind]).model_copy(update={"scaling": scaling})
    (shape,) = list_adapter_shapes(preset, backbone)
    return make_adapter_spec(preset, shape)


def choose_rivals(space: Space) -> tuple[str, ...]:
    """Choose the rivals of a space unless the user did: LoRA and CP.

    Left out are those that are a shape of the space, those of which no rank fits the budget, and
    those that cannot adapt these targets together.
    """
    chosen = []
    own = [(v.shape.construction, v.shape.factorization) for v in space.variants]
    for kind in _DEFAULTS:
        try:
            spec = make_kind_spec(kind, space.shape.backbone, scaling=1.0)
            if (spec.shape.construction, spec.shape.factorization) in own:
                continue
            _find_uniform(spec, space.feasible.budget)
        except (BudgetError, SpaceError):
            continue
        chosen.append(kind)
    return tuple(chosen)


def add_rivals(space: Space, names: Sequence[str]) -> Space:
    """Add rivals to a space.

    Args:
        space: A space without rivals.
        names: Their names: `lora` for the largest uniform rank within the budget, `lora:8` for
            rank 8, which may exceed it.

    Raises:
        UnknownNameError: If a kind is unknown.
        SpaceError: If a rank is not a positive integer that the kind can use.
        BudgetError: If no rank of a kind fits the budget.
    """
    if not names:
        return space
    rivals = [_make_variant(name, space) for name in dict.fromkeys(names)]
    variants = (*space.variants, *rivals)
    fixed = {
        rival.rank_parameters[rank_name]: float(rank)
        for rival in rivals
        for rank_name, rank in rival.feasible.find_uniform().items()
    }
    return dataclasses.replace(
        space,
        variants=variants,
        feasible=join_variants(variants),
        distributions={
            RIVAL: CategoricalDistribution([rival.choice[RIVAL] for rival in rivals]),
            **space.distributions,
        },
        fixed={**space.fixed, **fixed},
        searched=space,
    )


def list_rival_params(space: Space, num_rates: int) -> Iterator[Params]:
    """List the first allocations of each rival: learning rates spread evenly over the range.

    All other rates are the baseline's. The middle rate of every rival comes first, because it most
    likely is a good one.

    Args:
        space: A space with rivals.
        num_rates: Learning rates of each; one if the space fixes the rate.
    """
    base = {n: v for n, v in make_baseline_params(space).items() if n in space.rate_parameters}
    for rate in _spread_rates(space, num_rates):
        for rival in space.rivals:
            yield {**rival.choice, **base, **rate}


def _spread_rates(space: Space, count: int) -> list[dict[str, float]]:
    name = "learning_rate"
    if name not in space.distributions:
        return [{}]
    distribution = space.distributions[name]
    assert isinstance(distribution, FloatDistribution)
    edges = np.geomspace(distribution.low, distribution.high, 2 * count + 1)
    # The middles of as many equal parts of the range, on its logarithmic scale.
    middles = sorted(edges[1::2].tolist(), key=lambda rate: abs(np.log(rate / edges[count])))
    base = make_baseline_params(space)[name]
    return [{name: float(base) if count % 2 and not i else r} for i, r in enumerate(middles)]


def _make_variant(name: str, space: Space) -> Variant:
    kind, colon, rank = name.partition(":")
    if kind not in PRESETS:
        raise UnknownNameError("rival", kind, list(PRESETS))
    spec = make_kind_spec(kind, space.shape.backbone, scaling=space.variants[0].spec.config.scaling)
    budget = space.feasible.budget
    if not colon:
        try:
            ranks = _find_uniform(spec, budget)
        except BudgetError as misfit:
            raise BudgetError(
                f"rival {name}: none fits the budget of {budget:,}, as the smallest has "
                f"{misfit.smallest:,.0f} parameters; leave it out, or give a rank ({name}:1), "
                "which may exceed the budget",
                misfit.smallest,
            ) from None
    else:
        if not rank.isdecimal() or not int(rank):
            raise SpaceError(f"rival {name}: the rank must be a positive integer, got {rank!r}")
        # As a baseline of a given rank: capped at what each mode can use.
        ranks = {n: min(int(rank), bound) for n, bound in spec.shape.rank_bounds.items()}
    size = spec.shape.num_parameters(ranks)
    return Variant(
        choice={RIVAL: name},
        spec=spec,
        feasible=FeasibleSet(spec.shape, {n: [r] for n, r in ranks.items()}, max(budget, size)),
        rank_parameters={n: f"{name}_{n}" for n in ranks},
    )


def _find_uniform(spec: AdapterSpec, budget: int) -> dict[str, int]:
    choices = {name: range(1, bound + 1) for name, bound in spec.shape.rank_bounds.items()}
    return FeasibleSet(spec.shape, choices, budget).find_uniform()
