"""A budget in parameters, from the number or from the rank of a LoRA of the same size."""

from __future__ import annotations

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import BackboneShape
from allocator.config import Budget, LoraBudget


def count_budget_parameters(budget: Budget, backbone: BackboneShape) -> int:
    """Count the parameters that a budget allows on a backbone's sites."""
    if not isinstance(budget, LoraBudget):
        return budget
    lora = AdapterShape(construction="matrix", factorization="matrix", backbone=backbone)
    return lora.num_parameters({"rank": budget.rank})
