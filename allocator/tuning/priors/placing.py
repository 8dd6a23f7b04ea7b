"""Convert an allocation from elsewhere to a trial's parameters, if it lies in the space."""

from __future__ import annotations

from collections.abc import Mapping

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.allocation import Allocation
from allocator.errors import SpaceError
from allocator.tuning.space.points import read_bounds
from allocator.tuning.space.space import Params, Space, Variant, make_baseline_params


def place_allocation(space: Space, shape: AdapterShape, allocation: Allocation) -> Params:
    """Convert an allocation to the parameters that represent it in a space.

    Args:
        space: The search space.
        shape: Shape of the allocation's adapter, which may be of another backbone.
        allocation: Ranks and rates.

    Returns:
        All parameters of a trial.

    Raises:
        SpaceError: If a value is not in the space; the message names the value and the rule.
    """
    variant = _find_variant(space, shape)
    _check_ranks(space, variant, allocation.ranks)
    values: dict[str, float | int | str] = {
        parameter: allocation.ranks[name] for name, parameter in variant.rank_parameters.items()
    }
    rates = _collect_rates(space, allocation)
    for name, value in rates.items():
        _check_rate(space, name, value)
    values |= {**variant.choice, **rates}
    return {name: values[name] for name in space.list_searched(variant)}


def _find_variant(space: Space, shape: AdapterShape) -> Variant:
    wanted = _describe_shape(shape)
    for variant in space.variants:
        # By description, because shapes of different backbones are never equal.
        if _describe_shape(variant.shape) == wanted:
            return variant
    known = ", ".join(_describe_shape(variant.shape) for variant in space.variants)
    raise SpaceError(f"its adapter must be one of the space's ({known}), got {wanted}")


def _describe_shape(shape: AdapterShape) -> str:
    full = "".join(f" with full {mode}" for mode in sorted(shape.full_modes))
    return f"{shape.construction} {shape.factorization}{full}"


def _check_ranks(space: Space, variant: Variant, ranks: Mapping[str, int]) -> None:
    variant.shape.check_ranks(ranks)
    text = ", ".join(f"{name} {rank}" for name, rank in ranks.items())
    count, budget = variant.shape.num_parameters(ranks), space.feasible.budget
    if count > budget:
        raise SpaceError(
            f"ranks {text} must fit the budget of {budget:,} parameters, got {count:,}; "
            "lower them, or raise --budget"
        )
    for name, parameter in variant.rank_parameters.items():
        low, high = _read_range(space, parameter)
        if not low <= ranks[name] <= high:
            raise SpaceError(
                f"{parameter} must be {_describe_range(low, high)} in this space, got {ranks[name]}"
            )
    # Budget and ranges hold by now, so some rank exceeds what the other ranks let a core use.
    if not variant.feasible.contains(ranks):
        raise SpaceError(f"every rank must be usable beside the others, got {text}; lower it")


def _collect_rates(space: Space, allocation: Allocation) -> dict[str, float]:
    multipliers = {f"lr_multiplier_{m}": v for m, v in allocation.lr_multipliers.items()}
    # A mode without a multiplier trains at the base rate.
    searched = (n for n in space.rate_parameters if n.startswith("lr_multiplier_"))
    defaults = dict.fromkeys(searched, 1.0)
    # Head learning rate and dropout are parameters of some spaces only; otherwise they belong to
    # the training configuration. If the allocation has no value, the baseline's is taken.
    known = {**space.fixed, **make_baseline_params(space)}
    optional = {
        "head_learning_rate": allocation.head_learning_rate,
        "dropout": allocation.dropout,
    }
    training_rates = {
        name: float(known[name]) if value is None else value
        for name, value in optional.items()
        if name in known
    }
    return {
        **defaults,
        **multipliers,
        **training_rates,
        "core_lr_multiplier": allocation.core_lr_multiplier,
        "learning_rate": allocation.learning_rate,
    }


def _check_rate(space: Space, name: str, value: float) -> None:
    low, high = _read_range(space, name)
    if not low <= value <= high:
        raise SpaceError(
            f"{name} must be {_describe_range(low, high)} in this space, got {value:g}"
        )


def _read_range(space: Space, name: str) -> tuple[float, float]:
    if name in space.distributions:
        return read_bounds(space.distributions[name])
    # A fixed value is a range of one; a multiplier that the space does not search is 1.
    fixed = float(space.fixed.get(name, 1.0))
    return fixed, fixed


def _describe_range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"between {low:g} and {high:g}"
