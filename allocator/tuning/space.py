"""A search space on one backbone under one budget: Optuna's distributions and the feasible set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from allocator.allocation import AdapterShape, Allocation, BackboneShape, FeasibleSet, Mode
from allocator.errors import SpaceError, unknown
from allocator.tuning.space_file import Range, SpaceFile

LARGEST_RANK = 32
DEFAULT_RATES = {
    "core_lr_multiplier": Range(low=1, high=64, log=True),
    "learning_rate": Range(low=1e-4, high=1e-2, log=True),
}
Params = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Everything a sampler needs to know; all its suggestions lie in `feasible`.

    Attributes:
        shape: Adapter shape on the backbone.
        feasible: Feasible set of the ranks.
        distributions: Optuna's distribution of every searched parameter, static over a study.
        fixed: Values of the parameters that are not searched.
    """

    shape: AdapterShape
    feasible: FeasibleSet
    distributions: Mapping[str, BaseDistribution]
    fixed: Params

    @property
    def rank_parameters(self) -> dict[str, str]:
        """Optuna's parameter name of every rank name of the shape, in the shape's order."""
        return {name: rank_parameter(name) for name in self.shape.rank_names}

    @property
    def rate_parameters(self) -> tuple[str, ...]:
        """Searched parameters that are not ranks; all are positive reals."""
        ranks = set(self.rank_parameters.values())
        return tuple(name for name in self.distributions if name not in ranks)

    def ranks(self, params: Params) -> dict[str, int]:
        """Read the ranks, by the shape's names, from a trial's parameters."""
        values = {**self.fixed, **params}
        return {name: int(values[parameter]) for name, parameter in self.rank_parameters.items()}

    def num_parameters(self, params: Params) -> int:
        """Count the adapter parameters of a trial."""
        return self.shape.num_parameters(self.ranks(params))

    def allocation(self, params: Params) -> Allocation:
        """Turn a trial's parameters into the allocation they stand for."""
        values = {**self.fixed, **params}
        prefix = "lr_multiplier_"
        return Allocation(
            ranks=self.ranks(params),
            learning_rate=values["learning_rate"],
            core_lr_multiplier=values["core_lr_multiplier"],
            lr_multipliers={
                name.removeprefix(prefix): value
                for name, value in values.items()
                if name.startswith(prefix)
            },
        )


def rank_parameter(rank_name: str) -> str:
    """Name a rank as Optuna's parameter: `rank_input` for a mode; `rank`, `bond_1` stay."""
    return f"rank_{rank_name}" if rank_name in get_args(Mode) else rank_name


def build_space(file: SpaceFile, backbone: BackboneShape, budget: int) -> Space:
    """Place a search space on a backbone under a budget.

    Raises:
        SpaceError: If a parameter is unknown, or its range does not fit the backbone.
        BudgetError: If nothing fits the budget.
    """
    full = frozenset(
        mode for mode in get_args(Mode) if file.parameters.get(f"rank_{mode}") == "full"
    )
    shape = AdapterShape(
        construction=file.construction,
        factorization=file.factorization,
        backbone=backbone,
        full_modes=full,
    )
    searched, fixed = _searched_and_fixed(file, shape)
    choices = {
        name: _rank_choices(parameter, searched, fixed)
        for name, parameter in ((n, rank_parameter(n)) for n in shape.rank_names)
    }
    ranks = {rank_parameter(name) for name in shape.rank_names}
    distributions: dict[str, BaseDistribution] = {
        name: IntDistribution(int(r.low), int(r.high))
        if name in ranks
        else FloatDistribution(r.low, r.high, log=r.log)
        for name, r in searched.items()
    }
    return Space(
        shape=shape,
        feasible=FeasibleSet(shape, choices, budget),
        distributions=distributions,
        fixed=fixed,
    )


def _searched_and_fixed(
    file: SpaceFile, shape: AdapterShape
) -> tuple[dict[str, Range], dict[str, float]]:
    defaults: dict[str, Range] = {
        rank_parameter(name): Range(low=1, high=min(bound, LARGEST_RANK))
        for name, bound in shape.rank_bounds.items()
    } | DEFAULT_RATES
    optional = {f"lr_multiplier_{mode}" for mode in shape.tensor.dims}
    full = {f"rank_{mode}" for mode in shape.full_modes}
    searched, fixed = dict(defaults), dict[str, float]()
    for name, value in file.parameters.items():
        if name in full:
            continue
        if name not in {*defaults, *optional}:
            raise SpaceError(unknown("parameter", name, {*defaults, *optional}))
        if isinstance(value, str):
            raise SpaceError(f"parameter {name} must be a range or a number, got {value!r}")
        searched.pop(name, None)
        if isinstance(value, Range):
            searched[name] = _within_bounds(name, value, shape)
        else:
            fixed[name] = value
    return searched, fixed


def _within_bounds(name: str, value: Range, shape: AdapterShape) -> Range:
    bounds = {rank_parameter(n): bound for n, bound in shape.rank_bounds.items()}
    if name not in bounds:
        return value
    if value.low != int(value.low) or value.high != int(value.high):
        raise SpaceError(f"{name} must be a range of integers, got {value.low} to {value.high}")
    if value.low > bounds[name]:
        raise SpaceError(f"{name} can be at most {bounds[name]} on this model, got {value.low:g}")
    return Range(low=value.low, high=min(value.high, bounds[name]))


def _rank_choices(
    parameter: str, searched: Mapping[str, Range], fixed: Mapping[str, float]
) -> list[int]:
    if parameter in searched:
        return list(range(int(searched[parameter].low), int(searched[parameter].high) + 1))
    if fixed[parameter] != int(fixed[parameter]):
        raise SpaceError(f"{parameter} must be a positive integer, got {fixed[parameter]!r}")
    return [int(fixed[parameter])]
