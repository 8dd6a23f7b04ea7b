"""Print the result of a search at its end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import stats

from allocator.data.scoring.metric_names import describe_metric
from allocator.tuning.evidence.choice import Choice, Selection
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.screen.front_table import describe_smallest, make_front_table
from allocator.tuning.screen.told_effects import print_effects
from allocator.tuning.screen.verdict_table import describe_verdict, make_verdict_tables
from allocator.tuning.storage.trial_memory import (
    read_calibrated_loss,
    read_head_parameters,
    read_loss,
    read_score,
)
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.write_front import WrittenFront


def print_result(
    console: Console,
    study: SearchStudy,
    front: WrittenFront,
    effects: Sequence[MarginalEffect],
    commands: Sequence[str],
) -> None:
    """Print baseline and best side by side, the verdict, what is told, and the next commands."""
    selection, verdict = front.best.selection, front.best.verdict
    console.print()
    console.print(make_choice_table(study, selection), highlight=False)
    if verdict is not None:
        for compared in make_verdict_tables(study, selection, verdict):
            console.print(compared, highlight=False)
    for line in describe_verdict(study, selection, verdict):
        console.print(line, highlight=False, soft_wrap=True)
    if len(front.choices) > 1:
        _print_front(console, study, front)
    print_effects(console, study, selection, effects)
    # None if the study ended before its prior was made.
    if study.prior not in (None, study.config.prior):
        console.print(
            f"The baseline gives no evidence for prior {study.config.prior} in this space: "
            f"{study.prior} was used.",
            highlight=False,
            soft_wrap=True,
        )
    console.print("\nnext:", highlight=False)
    for command in commands:
        # To be copied: no brackets read as markup, and no line breaks.
        console.print(Text(f"  {command}"), soft_wrap=True)


def make_choice_table(study: SearchStudy, selection: Selection) -> Table:
    """Make a table of the choice, beside the uniform baseline if it is another allocation."""
    shown = {"best": selection.best}
    if selection.baseline is not None and not selection.is_baseline:
        shown = {"uniform baseline": selection.baseline, **shown}
    table = Table(title=f"{study.config.study}: {study.config.task.name}", title_justify="left")
    table.add_column("")
    cells = []
    for name, choice in shown.items():
        table.add_column(name, justify="right")
        cells.append(_make_cells(study, choice))
    # All rows of both columns in order, because two shapes may have different ranks.
    for row in dict.fromkeys(row for cell in cells for row in cell):
        table.add_row(row, *(cell.get(row, "") for cell in cells))
    return table


def _print_front(console: Console, study: SearchStudy, front: WrittenFront) -> None:
    selections = [choice.selection for choice in front.choices]
    console.print()
    console.print(make_front_table(study, selections), highlight=False)
    smallest = front.smallest
    told = describe_smallest(study, smallest.selection, selections[-1], smallest.path)
    console.print(Text(told), soft_wrap=True)


def _make_cells(study: SearchStudy, choice: Choice) -> dict[str, str]:
    params = choice.allocation.params
    allocation = study.space.make_allocation(params)
    ranks = {n if n == "rank" else f"rank {n}": str(r) for n, r in allocation.ranks.items()}
    cells = {**study.space.find_variant(params).choice, **ranks}
    cells["lambda"] = f"{allocation.core_lr_multiplier:.3g}"
    cells["learning rate"] = f"{allocation.learning_rate:.2e}"
    cells |= {
        f"lr multiplier {mode}": f"{value:.3g}" for mode, value in allocation.lr_multipliers.items()
    }
    if allocation.head_learning_rate is not None:
        cells["head learning rate"] = f"{allocation.head_learning_rate:.2e}"
    if allocation.dropout is not None:
        cells["dropout"] = f"{allocation.dropout:.3g}"
    cells["parameters"] = f"{study.space.num_parameters(params):,}"
    trials = choice.allocation.completed
    cells["head, not counted"] = f"{read_head_parameters(trials[0]):,}"
    cells["trainings in the search"] = str(len(trials))
    cells[f"expected {study.objective.name}"] = f"{choice.expected:.4f}"
    split = study.config.select_on.replace("_", " ")
    metric = describe_metric(study.config.task.metric)
    cells[f"calibrated loss ({split})"] = _average([read_calibrated_loss(t) for t in trials])
    cells[f"loss as trained ({split})"] = _average([read_loss(t) for t in trials])
    cells[f"{metric} ({split})"] = _average([read_score(t) for t in trials])
    return cells


def _average(values: list[float]) -> str:
    """Format a mean, with its standard error if there are several values."""
    error = "" if len(values) < 2 else f" ± {stats.sem(values):.4f}"
    return f"{np.mean(values):.4f}{error}"
