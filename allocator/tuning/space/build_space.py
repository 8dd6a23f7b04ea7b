"""Build a search space from its file, on a backbone and within a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import get_args

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import BackboneShape, Mode
from allocator.allocation.factorizations import FACTORIZATIONS
from allocator.allocation.feasible_set import FeasibleSet
from allocator.allocation.feasible_union import FeasibleUnion
from allocator.config import AdapterConfig
from allocator.errors import BudgetError, SpaceError, UnknownNameError
from allocator.tuning.space.space import Space, Variant, join_variants, make_baseline_params
from allocator.tuning.space.space_file import Range, SpaceFile

LARGEST_RANK = 32
DEFAULT_RATES = {
    "core_lr_multiplier": Range(low=1, high=64, log=True),
    "learning_rate": Range(low=1e-4, high=1e-2, log=True),
}
# Fields of the training configuration that a space may vary between trials.
TRAINING_RATES = ("head_learning_rate", "dropout")


def build_space(
    file: SpaceFile, backbone: BackboneShape, budget: int, smaller_budgets: Sequence[int] = ()
) -> Space:
    """Place a search space on a backbone within a budget.

    Shapes without ranks that fit the budget are left out, as long as one shape remains.

    Args:
        file: The space.
        backbone: The shape of the model.
        budget: Largest number of adapter parameters.
        smaller_budgets: Budgets for which an allocation is sought too, in ascending order.

    Raises:
        UnknownNameError: If a parameter is unknown.
        SpaceError: If its range does not fit the backbone.
        BudgetError: If no ranks fit the budget.
    """
    shapes = list_adapter_shapes(file, backbone)
    searched, fixed = _split_searched_and_fixed(file, shapes)
    variants: list[Variant] = []
    misfits: list[BudgetError] = []
    for shape in shapes:
        names = {name: name_rank_parameter(name, shape, file) for name in shape.rank_names}
        choices = {
            name: _list_rank_choices(parameter, shape.rank_bounds[name], searched, fixed)
            for name, parameter in names.items()
        }
        try:
            feasible = FeasibleSet(shape, choices, budget)
        except BudgetError as misfit:
            misfits.append(misfit)
            continue
        variants.append(
            Variant(
                choice=_make_choice(file, shape),
                spec=make_adapter_spec(file, shape),
                feasible=feasible,
                rank_parameters=names,
            )
        )
    if not variants:
        # The shape that needs least says which budget would do.
        raise min(misfits, key=lambda misfit: misfit.smallest)
    space = Space(
        variants=tuple(variants),
        feasible=_join_feasible_sets(variants),
        distributions=_make_distributions(variants, searched),
        fixed=fixed,
        smaller_budgets=tuple(smaller_budgets),
    )
    for smaller in smaller_budgets:
        make_baseline_params(space, smaller)  # which every budget has, or is refused
    return space


def make_adapter_spec(file: SpaceFile, shape: AdapterShape) -> AdapterSpec:
    """Join an adapter shape with the scaling and initialisation of a space's adapters."""
    config = AdapterConfig(scaling=file.scaling, initialization=file.initialization)
    return AdapterSpec(shape=shape, config=config)


def name_rank_parameter(rank_name: str, shape: AdapterShape, file: SpaceFile) -> str:
    """Return the name of a rank as Optuna's parameter.

    The rank of a mode is `rank_input`, for instance; `rank` and `bond_1` keep their names, with the
    factorization in front if a space has several: `cp_rank`.
    """
    if rank_name in get_args(Mode):
        return f"rank_{rank_name}"
    return rank_name if len(file.factorizations) == 1 else f"{shape.factorization}_{rank_name}"


def list_adapter_shapes(file: SpaceFile, backbone: BackboneShape) -> list[AdapterShape]:
    """List the adapter shapes of a space on a backbone.

    There is one for each compatible pair of construction and factorization.

    Raises:
        SpaceError: If there is none, or the file names a mode that the construction lacks.
    """
    pairs = [(c, f) for c in file.constructions for f in file.factorizations]
    if len(pairs) > 1:
        # Construction `matrix` goes with factorizations of matrices, and no other does.
        pairs = [(c, f) for c, f in pairs if (c == "matrix") == FACTORIZATIONS[f].is_of_matrices]
    # If a space has several shapes, a full mode or a zero mode applies to those that have it.
    full = {mode for mode in get_args(Mode) if file.parameters.get(f"rank_{mode}") == "full"}
    shapes = []
    for construction, factorization in pairs:
        shape = AdapterShape(
            construction=construction,
            factorization=factorization,
            backbone=backbone,
            # A single shape has to have the mode, and is refused here if it does not.
            zero_mode=file.zero_mode if len(pairs) == 1 else None,
        )
        own = full & set(shape.tensor.dims) if len(pairs) > 1 else full
        if own and (len(pairs) == 1 or shape.formulas.has_core):
            shape = AdapterShape(
                construction=construction,
                factorization=factorization,
                backbone=backbone,
                full_modes=frozenset(own),
            )
        can_start = shape.formulas.chooses_zero_mode and file.zero_mode in shape.tensor.dims
        if len(pairs) > 1 and can_start:
            shape = dataclasses.replace(shape, zero_mode=file.zero_mode)
        shapes.append(shape)
    if not shapes:
        raise SpaceError("construction 'matrix' goes with factorization 'matrix' alone")
    return shapes


def _make_choice(file: SpaceFile, shape: AdapterShape) -> dict[str, str]:
    choice: dict[str, str] = {}
    if len(file.constructions) > 1:
        choice["construction"] = shape.construction
    if len(file.factorizations) > 1:
        choice["factorization"] = shape.factorization
    return choice


def _join_feasible_sets(variants: list[Variant]) -> FeasibleSet | FeasibleUnion:
    # A variant that is left alone because others did not fit still needs a column for its choice.
    if len(variants) == 1 and not variants[0].choice:
        return variants[0].feasible
    return join_variants(variants)


def _make_distributions(
    variants: list[Variant], searched: Mapping[str, Range]
) -> dict[str, BaseDistribution]:
    chosen: dict[str, BaseDistribution] = {
        # Only what fits the budget, in the order of the file.
        name: CategoricalDistribution(list(dict.fromkeys(v.choice[name] for v in variants)))
        for name in variants[0].choice
    }
    ranks = {parameter for v in variants for parameter in v.rank_parameters.values()}
    rates = {*DEFAULT_RATES, *TRAINING_RATES}
    return chosen | {
        name: IntDistribution(int(r.low), int(r.high))
        if name in ranks
        else FloatDistribution(r.low, r.high, log=r.log)
        for name, r in searched.items()
        # Ranks of shapes that did not fit are dropped.
        if name in ranks | rates or name.startswith("lr_multiplier_")
    }


def _split_searched_and_fixed(
    file: SpaceFile, shapes: list[AdapterShape]
) -> tuple[dict[str, Range], dict[str, float]]:
    bounds = _find_rank_bounds(file, shapes)
    defaults = {
        name: Range(low=1, high=min(bound, LARGEST_RANK)) for name, bound in bounds.items()
    } | DEFAULT_RATES
    optional = {f"lr_multiplier_{mode}" for shape in shapes for mode in shape.factor_modes}
    optional |= {*TRAINING_RATES}
    full = {f"rank_{mode}" for shape in shapes for mode in shape.full_modes}
    searched, fixed = dict(defaults), dict[str, float]()
    for name, value in file.parameters.items():
        if name in full and value == "full":
            continue
        if name not in {*defaults, *optional}:
            raise UnknownNameError("parameter", name, sorted({*defaults, *optional}))
        # The only string is `full`, here on something that is not a rank of a core's mode.
        if isinstance(value, str):
            raise SpaceError(f"parameter {name} must be a range or a number, got {value!r}")
        searched.pop(name, None)
        if isinstance(value, Range):
            searched[name] = _clip_to_bounds(name, value, bounds)
        else:
            _require_usable(name, value, bounds)
            fixed[name] = value
    return searched, fixed


def _find_rank_bounds(file: SpaceFile, shapes: list[AdapterShape]) -> dict[str, int]:
    """Return the largest rank of each parameter that some shape can use."""
    bounds: dict[str, int] = {}
    for shape in shapes:
        for name, bound in shape.rank_bounds.items():
            parameter = name_rank_parameter(name, shape, file)
            # Shapes that can use less clip it again in `_list_rank_choices`.
            bounds[parameter] = max(bound, bounds.get(parameter, 1))
    return bounds


def _clip_to_bounds(name: str, value: Range, bounds: Mapping[str, int]) -> Range:
    if name not in bounds:
        _require_usable(name, value.high, bounds)
        return value
    if value.low != int(value.low) or value.high != int(value.high):
        raise SpaceError(f"{name} must be a range of integers, got {value.low} to {value.high}")
    # Only the lower end has to be usable, because the upper end is clipped.
    _require_usable(name, value.low, bounds)
    return Range(low=value.low, high=min(value.high, bounds[name]))


def _require_usable(name: str, value: float, bounds: Mapping[str, int]) -> None:
    if name == "dropout" and value >= 1:
        raise SpaceError(f"dropout must be below 1, got {value:g}")
    if name in bounds and value > bounds[name]:
        raise SpaceError(f"{name} can be at most {bounds[name]} on this model, got {value:g}")


def _list_rank_choices(
    parameter: str, bound: int, searched: Mapping[str, Range], fixed: Mapping[str, float]
) -> list[int]:
    if parameter in searched:
        low, high = int(searched[parameter].low), int(searched[parameter].high)
        # Never empty: `low` stays even if this shape cannot use it.
        return list(range(low, max(low, min(high, bound)) + 1))
    if fixed[parameter] != int(fixed[parameter]):
        raise SpaceError(f"{parameter} must be a positive integer, got {fixed[parameter]!r}")
    return [int(fixed[parameter])]
