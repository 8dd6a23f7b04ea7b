"""Build adapters from their shapes and ranks, and group their parameters by learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict, get_args

import torch
from torch import nn

from allocator.adapters.adapter import Adapter
from allocator.adapters.cp import CPAdapter
from allocator.adapters.lora import MatrixAdapter
from allocator.adapters.tensor_train import TTAdapter
from allocator.adapters.tucker import TuckerAdapter
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import require_same_names
from allocator.allocation.factorizations import Factorization

_MODULES: Mapping[Factorization, Callable[..., Adapter]] = {
    "tucker": TuckerAdapter,
    "cp": CPAdapter,
    "tt": TTAdapter,
    "matrix": MatrixAdapter,
}

require_same_names("_MODULES", _MODULES, get_args(Factorization))


class ParameterGroup(TypedDict):
    """One group of a torch optimizer."""

    params: list[nn.Parameter]
    lr: float


def build_adapter(spec: AdapterSpec, ranks: Mapping[str, int], *, seed: int) -> Adapter:
    """Build a new adapter on the CPU.

    Args:
        spec: Shape, scaling and initialisation.
        ranks: Rank by name, as in `spec.shape.rank_names`.
        seed: Seed of the initial values.

    Raises:
        SpaceError: If the ranks do not fit the shape.
    """
    make = _MODULES[spec.shape.factorization]
    return make(spec.shape, ranks, spec.config, torch.Generator().manual_seed(seed))


def build_blank_adapter(spec: AdapterSpec, ranks: Mapping[str, int]) -> Adapter:
    """Build an adapter without values on the meta device, which takes neither time nor memory.

    `load_state_dict(..., assign=True)` sets its values.

    Raises:
        SpaceError: If the ranks do not fit the shape.
    """
    make = _MODULES[spec.shape.factorization]
    with torch.device("meta"):
        return make(spec.shape, ranks, spec.config, None)


def make_parameter_groups(adapter: Adapter, allocation: Allocation) -> list[ParameterGroup]:
    """Group an adapter's parameters by learning rate, for a torch optimizer.

    Args:
        adapter: The adapter.
        allocation: Its base learning rate and multipliers.

    Returns:
        One group for the zero-initialised part and one for every factor.
    """
    rate = allocation.learning_rate
    groups: list[ParameterGroup] = [
        {"params": [adapter.zero_part], "lr": rate * allocation.core_lr_multiplier}
    ]
    for mode, parameter in adapter.factors.items():
        multiplier = allocation.lr_multipliers.get(mode, 1.0)
        groups.append({"params": [parameter], "lr": rate * multiplier})
    return groups
