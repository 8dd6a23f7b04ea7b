"""Print what every budget of a search buys."""

from __future__ import annotations

import shlex

from rich.console import Console
from rich.table import Table

from allocator.tuning.evidence.choice import Selection
from allocator.tuning.storage.trial_memory import BASELINE
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import BEST, Difference, Versus
from allocator.tuning.study.write_front import WrittenBest, WrittenFront


def print_front(console: Console, study: SearchStudy, front: WrittenFront) -> None:
    """Print the choice for each budget, and the smallest that is not distinguishably worse."""
    proved = [choice.verdict for choice in front.choices]
    values = "loss on dev" if all(proved) else f"expected {study.objective.name}"
    largest = f"{study.config.budget:,}"
    table = Table(
        title=f"Best allocation within each budget: {values}, and minus that of {largest}",
        title_justify="left",
        box=None,
        collapse_padding=True,
    )
    for column in ("budget", "ranks", "parameters", "loss", "minus", "95% interval", "baseline"):
        table.add_column(column, justify="left" if column in ("ranks", "baseline") else "right")
    for choice in front.choices:
        table.add_row(*_make_row(study, front, choice))
    console.print()
    console.print(table, highlight=False)
    console.print(_describe_smallest(study, front), highlight=False, soft_wrap=True)


def describe_ranks(study: SearchStudy, selection: Selection) -> str:
    """Describe the ranks of a choice in few words, with its kind if it is a rival."""
    allocation = selection.best.allocation
    ranks = " ".join(map(str, study.space.read_ranks(allocation.params).values()))
    choice = study.space.find_variant(allocation.params).choice
    return " ".join([*choice.values(), ranks])


def _make_row(study: SearchStudy, front: WrittenFront, choice: WrittenBest) -> list[str]:
    selection, verdict = choice.selection, choice.verdict
    row = [
        f"{selection.budget:,}",
        describe_ranks(study, selection),
        f"{study.space.num_parameters(selection.best.allocation.params):,}",
    ]
    if verdict is None or not verdict.versus:
        gap = selection.best.expected - front.best.selection.best.expected
        return [*row, f"{selection.best.expected:.4f}", f"{gap:+.4f}", "", ""]
    differences = {name: versus.loss for name, versus in verdict.versus.items()}
    any_difference = next(iter(differences.values()))
    row.append(f"{any_difference.choice:.4f}")
    row += _describe_difference(differences.get(BEST))
    return [*row, _describe_baseline(study, selection, verdict.versus)]


def _describe_difference(difference: Difference | None) -> list[str]:
    if difference is None:  # it is the choice of the largest budget
        return ["", ""]
    return [f"{difference.mean:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}"]


def _describe_baseline(study: SearchStudy, selection: Selection, versus: dict[str, Versus]) -> str:
    """Say in a word how a choice compares with the uniform baseline of its budget."""
    if selection.is_baseline:
        return "is it"
    if BASELINE not in versus:
        return ""
    words = versus[BASELINE].find_deciding(study.config.decide_by).words
    return {"not distinguishable": "level"}.get(words, words)


def _describe_smallest(study: SearchStudy, front: WrittenFront) -> str:
    smallest, best = front.smallest, front.best
    count = study.space.num_parameters(smallest.selection.best.allocation.params)
    if smallest.selection.best.allocation.params == best.selection.best.allocation.params:
        return (
            "No smaller budget has a choice within one standard error of the best "
            "(one-standard-error rule)."
        )
    return (
        "The smallest within one standard error of the best (one-standard-error rule) has "
        f"{count:,} parameters: {shlex.quote(str(smallest.path))}"
    )
