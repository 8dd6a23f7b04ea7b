"""How many parameters adapters have and which fit a budget, from numbers alone."""

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.allocation import Allocation
from allocator.allocation.budget import count_budget_parameters
from allocator.allocation.constructions import (
    MODES,
    BackboneShape,
    Construction,
    Mode,
    TensorShape,
    make_tensor_shape,
)
from allocator.allocation.factorizations import FACTORIZATIONS, Factorization
from allocator.allocation.feasible_set import ENUMERATION_LIMIT, FeasibleSet

__all__ = [
    "ENUMERATION_LIMIT",
    "FACTORIZATIONS",
    "MODES",
    "AdapterShape",
    "Allocation",
    "BackboneShape",
    "Construction",
    "Factorization",
    "FeasibleSet",
    "Mode",
    "TensorShape",
    "count_budget_parameters",
    "make_tensor_shape",
]
