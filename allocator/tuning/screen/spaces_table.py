"""Print the parameters and sizes of search spaces on a model, within a budget."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import CategoricalDistribution
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from allocator.allocation.budget import count_budget_parameters
from allocator.allocation.constructions import BackboneShape
from allocator.config import Budget, LoraBudget
from allocator.errors import AllocatorError
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import ModelSource
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Space
from allocator.tuning.space.space_file import SpaceFile


def describe_parameters(space: Space) -> dict[str, str]:
    """Describe the range, or the fixed value, of every parameter of a space."""
    ranges = {}
    for name, distribution in space.distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            ranges[name] = ", ".join(map(str, distribution.choices))
            continue
        low, high = getattr(distribution, "low", None), getattr(distribution, "high", None)
        scale = ", logarithmic" if getattr(distribution, "log", False) else ""
        ranges[name] = f"{low:g} to {high:g}{scale}"
    return ranges | {name: f"{value:g}, fixed" for name, value in space.fixed.items()}


def print_spaces(
    console: Console, spaces: Mapping[str, SpaceFile], model: ModelSource, budget: Budget
) -> None:
    """Print every space's parameters, and how many of its allocations fit the budget.

    If a space does not fit the model or the budget, the reason is printed instead.
    """
    # As text, because brackets in a folder's name are no markup.
    console.print(Text(f"on {model.name}, within {_describe_budget(budget)}"), soft_wrap=True)
    # Many spaces have the same targets, so shapes are read once for each set of them.
    backbones: dict[tuple[str, ...], BackboneShape] = {}
    for name, file in spaces.items():
        try:
            if file.targets not in backbones:
                backbones[file.targets] = read_backbone_shape(model, file.targets)
            backbone = backbones[file.targets]
            space = build_space(file, backbone, count_budget_parameters(budget, backbone))
            rows = _make_rows(space)
        except AllocatorError as mistake:
            rows = {"does not fit": str(mistake)}
        table = Table.grid(padding=(0, 2))
        for title, value in rows.items():
            # Brackets in a message would be read as markup.
            table.add_row(f"  {title}", escape(value))
        kinds = f"{' | '.join(file.constructions)}, {' | '.join(file.factorizations)}"
        console.print(f"\n[bold]{escape(name)}[/bold]: {kinds}", soft_wrap=True)
        console.print(table, highlight=False)


def _describe_budget(budget: Budget) -> str:
    if isinstance(budget, LoraBudget):
        return f"the parameters of LoRA of rank {budget.rank}"
    return f"{budget:,} parameters"


def _make_rows(space: Space) -> dict[str, str]:
    backbone, feasible = space.shape.backbone, space.feasible
    smallest = min(v.shape.num_parameters(v.feasible.find_smallest()) for v in space.variants)
    widths = " or ".join(map(str, dict.fromkeys(backbone.target_widths)))
    largest = max(v.shape.num_parameters(v.feasible.find_largest()) for v in space.variants)
    return {
        "targets": f"{', '.join(backbone.targets)} of {backbone.layers} layers "
        f"({backbone.d_in} to {widths}, {backbone.describe_heads()})",
        **describe_parameters(space),
        f"within {feasible.budget:,}": f"{feasible.size:,} allocations of ranks, of {smallest:,} "
        f"to {largest:,} parameters",
    }
