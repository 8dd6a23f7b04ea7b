"""Tensor adapters as modules: each emits a low-rank pair (A, B) for every site."""

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.build import AdapterSpec, ParameterGroup, build_adapter, parameter_groups
from allocator.adapters.projections import backbone_shape
from allocator.adapters.sites import Sites, adapt

__all__ = [
    "Adapter",
    "AdapterSpec",
    "Pairs",
    "ParameterGroup",
    "Sites",
    "adapt",
    "backbone_shape",
    "build_adapter",
    "parameter_groups",
]
