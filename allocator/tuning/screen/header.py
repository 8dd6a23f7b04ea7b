"""Print what a run will do, before anything trains."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from allocator.data.scoring.metric_names import describe_metric
from allocator.data.sources import TaskData
from allocator.tuning.plan.search_plan import Plan, Recorded
from allocator.tuning.space.space import Space
from allocator.tuning.storage.study_config import StudyConfig

_USED = 0.9  # if the largest allocation uses less of the budget, the header says so


def print_header(console: Console, plan: Plan[Recorded]) -> None:
    """Print the model, the task and its data, the space, the budget and the study's folder."""
    study, space = plan.recorded, plan.space
    print_banner(console, plan.data)
    backbone = space.shape.backbone
    table = Table.grid(padding=(0, 2))
    rows = {
        "model": f"{study.model.name} ({backbone.layers} layers, {backbone.d_in} wide, "
        f"{backbone.describe_heads()}), {study.precision} on {', '.join(plan.devices.names)}",
        "task": f"{study.task.name} ({describe_metric(study.task.metric)}), {plan.data.source}",
        "scored on": f"{plan.setup.num_scoring:,} examples of "
        + (
            "the official dev split"
            if study.select_on == "dev"
            else "train, others held out by every seed"
        )
        + f"; trained on {plan.setup.num_train:,}",
        "space": f"{plan.space_name}: {describe_shapes(space)}, "
        f"targets {', '.join(backbone.targets)}",
        "budget": f"{', '.join(f'{budget:,}' for budget in space.budgets)} parameters; "
        f"{space.feasible.size:,} allocations of ranks fit"
        f"{' the largest' if space.smaller_budgets else ''}{_describe_unused(space)}",
        "study": str(plan.folder),
    }
    if plan.setup.path.reason:
        rows["runs with"] = plan.setup.path.description
    for name, value in rows.items():
        # As `Text`, so that brackets in a folder's name are not read as markup.
        table.add_row(Text(name, style="bold"), Text(value))
    console.print(table, highlight=False)
    if isinstance(study, StudyConfig) and study.decide_by == "metric":
        console.print(
            "[yellow]decided by the metric[/yellow]: its luck is larger than most differences; "
            "--decide-by loss is the default",
            highlight=False,
        )
    if study.select_on == "dev":
        console.print(
            "[yellow]selected on dev[/yellow]: dev scores of this study are optimistic",
            highlight=False,
        )


def print_banner(console: Console, data: TaskData) -> None:
    """Print what is doubtful about the data, and a banner if the bundled corpus is not CoLA."""
    for remark in data.remarks:
        console.print(f"[yellow]data[/yellow]: {escape(remark)}", highlight=False, soft_wrap=True)
    if data.source != "bundled":
        return
    # A folder's name may hold brackets, which would be read as markup.
    reasons = "".join(f"\n- {escape(reason)}" for reason in data.passed_over)
    console.print(
        Panel(
            f"This is not CoLA. The task is [bold]{data.task.name}[/bold], a bundled "
            "corpus made by a grammar; scores on it say nothing about CoLA. Give --data-dir a "
            f"folder that holds CoLA/train.tsv and CoLA/dev.tsv.{reasons}",
            title="bundled data",
            border_style="yellow",
        ),
        highlight=False,
    )


def _describe_unused(space: Space) -> str:
    """Describe how much of the budget no allocation can use; empty if that is little."""
    largest = max(v.shape.num_parameters(v.feasible.find_largest()) for v in space.variants)
    if largest >= _USED * space.feasible.budget:
        return ""
    return f", the largest with {largest:,} parameters: higher ranks need a space file of your own"


def describe_shapes(space: Space) -> str:
    """Describe the adapters of a space."""
    if space.choices:
        return f"{len(space.variants)} combinations of construction and factorization"
    return f"{space.shape.construction}, {space.shape.factorization}"
