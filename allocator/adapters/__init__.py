"""Tensor adapters as modules: each emits a low-rank pair (A, B) for every site."""

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.attach import Attached, attach, attach_saved
from allocator.adapters.build import AdapterSpec, ParameterGroup, build_adapter, parameter_groups
from allocator.adapters.projections import backbone_shape
from allocator.adapters.recipe import Recipe, read_recipe
from allocator.adapters.sites import Sites, adapt

__all__ = [
    "Adapter",
    "AdapterSpec",
    "Attached",
    "Pairs",
    "ParameterGroup",
    "Recipe",
    "Sites",
    "adapt",
    "attach",
    "attach_saved",
    "backbone_shape",
    "build_adapter",
    "parameter_groups",
    "read_recipe",
]
