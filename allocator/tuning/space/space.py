"""A search space on one backbone within its budgets: distributions and the feasible set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.factorizations import Counts
from allocator.allocation.feasible_set import FeasibleSet
from allocator.allocation.feasible_union import VARIANT, FeasibleUnion

Params = Mapping[str, float | str]

RIVAL = "rival"
"""Optuna's parameter with the name of the rival that a trial is of; other trials lack it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One adapter shape of a space.

    Attributes:
        choice: Values of the parameters that distinguish variants: `construction` and
            `factorization`, if the space searches them, or `rival`.
        spec: The adapter shape on the backbone, with its scaling and initialisation.
        feasible: Feasible set of its ranks.
        rank_parameters: Optuna's parameter name for every rank name of the shape, in its order.
    """

    choice: Mapping[str, str]
    spec: AdapterSpec
    feasible: FeasibleSet
    rank_parameters: Mapping[str, str]

    @property
    def shape(self) -> AdapterShape:
        """The adapter shape."""
        return self.spec.shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """A search space as samplers see it; all their suggestions lie in `feasible`.

    Most spaces search one variant. If there are several, `construction` and `factorization` are
    parameters, and the ranks of a trial depend on their values. A study's space may also have
    rivals, which samplers do not propose.

    Attributes:
        variants: Adapter shapes, the baseline's first, rivals last.
        feasible: Feasible set of the ranks of all variants.
        distributions: Optuna's distribution of every searched parameter, the same for all trials.
        fixed: Values of the parameters that are not searched.
        searched: The space without rivals; None if there are none.
        smaller_budgets: Budgets below that of `feasible` for which an allocation is sought too, in
            ascending order.
    """

    variants: tuple[Variant, ...]
    feasible: FeasibleSet | FeasibleUnion
    distributions: Mapping[str, BaseDistribution]
    fixed: Mapping[str, float]
    searched: Space | None = None
    smaller_budgets: tuple[int, ...] = ()

    @property
    def budgets(self) -> tuple[int, ...]:
        """All budgets in ascending order; the last is that of `feasible`."""
        return (*self.smaller_budgets, self.feasible.budget)

    def limit(self, budget: int) -> FeasibleSet | FeasibleUnion:
        """Return the feasible set within one of the budgets."""
        return self.feasible if budget == self.feasible.budget else self.feasible.limit(budget)

    @property
    def without_rivals(self) -> Space:
        """The space that samplers and priors propose from."""
        return self.searched or self

    @property
    def rivals(self) -> tuple[Variant, ...]:
        """The rivals, in the order in which they were named."""
        return tuple(variant for variant in self.variants if RIVAL in variant.choice)

    @property
    def shape(self) -> AdapterShape:
        """Adapter shape of the baseline; all other shapes have the same backbone."""
        return self.variants[0].shape

    @property
    def rank_parameters(self) -> Mapping[str, str]:
        """Optuna's parameter name for every rank name of the baseline's shape, in its order."""
        return self.variants[0].rank_parameters

    @property
    def rank_columns(self) -> tuple[str, ...]:
        """Columns of the points of `feasible`."""
        if isinstance(self.feasible, FeasibleUnion):
            return self.feasible.columns
        return tuple(self.rank_parameters.values())

    @property
    def choices(self) -> tuple[str, ...]:
        """Searched parameters that distinguish variants."""
        return tuple(
            n for n, d in self.distributions.items() if isinstance(d, CategoricalDistribution)
        )

    @property
    def rate_parameters(self) -> tuple[str, ...]:
        """Searched parameters that are neither ranks nor choices; all are positive reals."""
        others = {*self.choices, *(p for v in self.variants for p in v.rank_parameters.values())}
        return tuple(name for name in self.distributions if name not in others)

    def find_variant(self, params: Params) -> Variant:
        """Find the adapter shape of a trial."""
        chosen_values = {name: params.get(name) for name in self.choices}
        for variant in self.variants:
            if chosen_values == {name: variant.choice.get(name) for name in self.choices}:
                return variant
        chosen = ", ".join(f"{name} {params.get(name)}" for name in self.choices)
        raise ValueError(f"parameters must choose a variant of the space, got {chosen}")

    def list_searched(self, variant: Variant) -> tuple[str, ...]:
        """List the names of the searched parameters of a variant's trials, choices first."""
        ranks = set(variant.rank_parameters.values())
        wanted = {*variant.choice, *ranks, *self.rate_parameters}
        return tuple(name for name in self.distributions if name in wanted)

    def has_all_params(self, params: Params) -> bool:
        """Whether `params` has a value for every parameter that its variant searches."""
        # Not by `find_variant`, which raises for a trial that lacks a choice. A rival's trial
        # chooses what a space without rivals does not have.
        chosen = {name: value for name, value in params.items() if isinstance(value, str)}
        return any(
            chosen == variant.choice and params.keys() >= set(self.list_searched(variant))
            for variant in self.variants
        )

    def read_ranks(self, params: Params) -> dict[str, int]:
        """Return the ranks among a trial's parameters, by the shape's rank names."""
        values = {**self.fixed, **params}
        by_rank = self.find_variant(params).rank_parameters
        return {name: int(values[parameter]) for name, parameter in by_rank.items()}

    def describe_ranks(self, params: Params) -> str:
        """Describe the ranks of an allocation in few words, with its kind where there are several.

        A rival's name is its kind.
        """
        ranks = map(str, self.read_ranks(params).values())
        return " ".join([*self.find_variant(params).choice.values(), *ranks])

    def num_parameters(self, params: Params) -> int:
        """Count the adapter parameters of a trial."""
        return self.find_variant(params).shape.num_parameters(self.read_ranks(params))

    def fits_budget(self, params: Params, budget: int | None = None) -> bool:
        """Whether a trial's adapter is within a budget, by default the largest.

        Only a rival may exceed the largest.
        """
        return self.num_parameters(params) <= (budget or self.feasible.budget)

    def make_allocation(self, params: Params) -> Allocation:
        """Convert a trial's parameters to an allocation."""
        rates = {
            name: float(value)
            for name, value in {**self.fixed, **params}.items()
            if not isinstance(value, str)
        }
        prefix = "lr_multiplier_"
        return Allocation(
            ranks=self.read_ranks(params),
            learning_rate=rates["learning_rate"],
            core_lr_multiplier=rates["core_lr_multiplier"],
            lr_multipliers={
                name.removeprefix(prefix): value
                for name, value in rates.items()
                if name.startswith(prefix)
            },
            head_learning_rate=rates.get("head_learning_rate"),
            dropout=rates.get("dropout"),
        )

    def params_to_row(self, params: Params) -> list[int]:
        """Place a trial's ranks in the columns of `feasible`."""
        values = {**self.fixed, **params}
        variant = self.find_variant(params)
        # Columns of other variants stay at 1, whose logarithm is 0.
        row = dict.fromkeys(self.rank_columns, 1)
        if VARIANT in row:
            # From 1, because distances take the logarithm of every column.
            row[VARIANT] = self.variants.index(variant) + 1
        return list((row | {p: int(values[p]) for p in variant.rank_parameters.values()}).values())

    def row_to_params(self, row: Sequence[int] | Counts) -> dict[str, int | str]:
        """Return the choices and searched ranks of one point of `feasible`."""
        values = dict(zip(self.rank_columns, map(int, row), strict=True))
        # A space of one variant has no column for it.
        variant = self.variants[values.get(VARIANT, 1) - 1]
        ranks = {p: values[p] for p in variant.rank_parameters.values() if p in self.distributions}
        return {**variant.choice, **ranks}

    def list_matching_variants(self, decided: Params) -> Counts:
        """List the variants, numbered from 1, that agree with choices already made."""
        return np.array(
            [
                number
                for number, variant in enumerate(self.variants, start=1)
                # A choice that is still open agrees with every value.
                if all(decided.get(name, value) == value for name, value in variant.choice.items())
            ]
        )


def join_variants(variants: Sequence[Variant]) -> FeasibleUnion:
    """Join the feasible sets of variants, which are numbered from 1."""
    return FeasibleUnion(
        {number: variant.feasible for number, variant in enumerate(variants, start=1)},
        {number: variant.rank_parameters for number, variant in enumerate(variants, start=1)},
    )


def make_baseline_params(space: Space, budget: int | None = None) -> Params:
    """Return the parameters of the uniform-rank baseline of a budget, by default the largest.

    Lambda is 1, learning rates are the geometric middle of their ranges, and dropout is the
    smallest of its range.

    Raises:
        BudgetError: If nothing of the baseline's shape fits a smaller budget.
    """
    first = space.variants[0]
    feasible = first.feasible
    if budget is not None and budget != feasible.budget:
        feasible = feasible.limit(budget)
    values: dict[str, float | str] = {
        first.rank_parameters[name]: rank for name, rank in feasible.find_uniform().items()
    }
    values |= first.choice
    for name in space.rate_parameters:
        distribution = space.distributions[name]
        assert isinstance(distribution, FloatDistribution)
        low, high = distribution.low, distribution.high
        if name in ("learning_rate", "head_learning_rate"):
            values[name] = (low * high) ** 0.5
        elif name == "dropout":
            values[name] = low
        else:  # a multiplier: 1 keeps the base rate
            values[name] = min(max(1.0, low), high)
    # Ranks that the space fixes are no parameters of a trial.
    return {name: value for name, value in values.items() if name in space.distributions}
