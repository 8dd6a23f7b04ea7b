"""The table of what every budget of a search buys."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from allocator.tuning.evidence.choice import Selection
from allocator.tuning.storage.trial_memory import BASELINE
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import BEST, Difference, StudyVerdict, read_verdict


def make_front_table(study: SearchStudy, front: Sequence[Selection]) -> Table:
    """Make the table of the choices of all budgets, the smallest budget first.

    Losses are those on dev if all choices were proved there, and expected ones otherwise.
    """
    verdicts = [read_verdict(study.study, selection) for selection in front]
    proved = [verdict for verdict in verdicts if verdict is not None and verdict.versus]
    is_proved = len(proved) == len(front)
    table = Table(
        title=f"Best allocation within each budget: "
        f"{'loss on dev' if is_proved else f'expected {study.objective.name}'}, and minus that of "
        f"{study.config.budget:,}",
        title_justify="left",
        box=None,
        collapse_padding=True,
    )
    for column in ("budget", "ranks", "parameters", "loss", "minus", "95% interval", "baseline"):
        table.add_column(column, justify="left" if column in ("ranks", "baseline") else "right")
    for place, selection in enumerate(front):
        cells = (
            _make_proved_cells(study, selection, proved[place])
            if is_proved
            else _make_expected_cells(selection, front[-1])
        )
        count = study.space.num_parameters(selection.best.allocation.params)
        table.add_row(
            f"{selection.budget:,}", _describe_ranks(study, selection), f"{count:,}", *cells
        )
    return table


def describe_smallest(
    study: SearchStudy, smallest: Selection, best: Selection, recipe: Path
) -> str:
    """Say which is the smallest choice that is not distinguishably worse than the best.

    Args:
        study: The study.
        smallest: That choice.
        best: The choice of the largest budget.
        recipe: The recipe of the smallest.
    """
    params = smallest.best.allocation.params
    if params == best.best.allocation.params:
        return (
            "No smaller budget has a choice within one standard error of the best "
            "(one-standard-error rule)."
        )
    return (
        "The smallest within one standard error of the best (one-standard-error rule) has "
        f"{study.space.num_parameters(params):,} parameters: {shlex.quote(str(recipe))}"
    )


def _describe_ranks(study: SearchStudy, selection: Selection) -> str:
    """Describe the ranks of a choice in few words, with its kind if it is a rival."""
    params = selection.best.allocation.params
    ranks = map(str, study.space.read_ranks(params).values())
    return " ".join([*study.space.find_variant(params).choice.values(), *ranks])


def _make_expected_cells(selection: Selection, best: Selection) -> list[str]:
    gap = selection.best.expected - best.best.expected
    return [f"{selection.best.expected:.4f}", f"{gap:+.4f}"]


def _make_proved_cells(
    study: SearchStudy, selection: Selection, verdict: StudyVerdict
) -> list[str]:
    differences = {name: versus.loss for name, versus in verdict.versus.items()}
    own = next(iter(differences.values())).choice
    words = ""
    if selection.is_baseline:
        words = "is it"
    elif BASELINE in verdict.versus:
        words = verdict.versus[BASELINE].find_deciding(study.config.decide_by).words
    short = {"not distinguishable": "level"}
    return [f"{own:.4f}", *_describe_gap(differences.get(BEST)), short.get(words, words)]


def _describe_gap(difference: Difference | None) -> list[str]:
    if difference is None:  # it is the choice of the largest budget
        return ["", ""]
    return [f"{difference.mean:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}"]
