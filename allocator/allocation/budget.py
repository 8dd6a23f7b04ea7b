"""Count the parameters of a budget that is given as a number or as the rank of a LoRA."""

from __future__ import annotations

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import BackboneShape
from allocator.config import Budget, LoraBudget


def count_budget_parameters(budget: Budget, backbone: BackboneShape) -> int:
    """Count the parameters that a budget allows on a backbone's sites.

    A `LoraBudget` allows as many as LoRA of its rank has on the same sites.
    """
    if not isinstance(budget, LoraBudget):
        return budget
    lora = AdapterShape(construction="matrix", factorization="matrix", backbone=backbone)
    return lora.num_parameters({"rank": budget.rank})
