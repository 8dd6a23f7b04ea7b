"""The table of what every budget of a search buys."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from allocator.tuning.evidence.choice import Selection
from allocator.tuning.storage.trial_memory import BASELINE
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import BEST, Difference, StudyVerdict, read_front


def make_front_table(study: SearchStudy, front: Sequence[Selection]) -> Table:
    """Make the table of the choices of all budgets, the smallest budget first.

    Its values are losses on dev if all choices were proved there, and expected ones otherwise.
    """
    proved = read_front(study.study, front)
    value = f"expected {study.objective.name}" if proved is None else "loss on dev"
    table = Table(
        title=f"Best allocation within each budget: {value}, and minus that of "
        f"{study.config.budget:,}",
        title_justify="left",
        box=None,
        collapse_padding=True,
    )
    proofs = (_name_interval(proved), "baseline") if proved is not None else ()
    for column in ("budget", "ranks", "parameters", "value", "minus", *proofs):
        table.add_column(column, justify="left" if column in ("ranks", "baseline") else "right")
    for place, selection in enumerate(front):
        cells = (
            _make_expected_cells(selection, front[-1])
            if proved is None
            else _make_proved_cells(study, selection, proved[place])
        )
        count = study.space.num_parameters(selection.best.allocation.params)
        table.add_row(
            f"{selection.budget:,}",
            study.space.describe_ranks(selection.best.allocation.params),
            f"{count:,}",
            *cells,
        )
    return table


def describe_smallest(
    study: SearchStudy, smallest: Selection, best: Selection, recipe: Path
) -> str:
    """Say which is the smallest choice that is not worse by a standard error than the best.

    Args:
        study: The study.
        smallest: That choice.
        best: The choice of the largest budget.
        recipe: The recipe of the smallest.
    """
    if smallest.budget == best.budget:
        return (
            "No smaller budget has a choice that is expected within half a standard error of the "
            "best, by what the trainings held out. What dev says beside it does not count for that."
        )
    params = smallest.best.allocation.params
    where = f"{study.space.num_parameters(params):,} parameters: {shlex.quote(str(recipe))}"
    if params == best.best.allocation.params:
        return f"The best allocation fits a budget of {smallest.budget:,} too, with {where}"
    return (
        "The smallest that is not worse by a standard error, as far as its trainings tell, has "
        f"{where}"
    )


def _name_interval(proved: Sequence[StudyVerdict]) -> str:
    differences = [versus.loss for verdict in proved for versus in verdict.versus.values()]
    return "95% interval" if all(d.covers_seeds for d in differences) else "95% (examples)"


def _make_expected_cells(selection: Selection, best: Selection) -> list[str]:
    gap = selection.best.expected - best.best.expected
    return [f"{selection.best.expected:.4f}", f"{gap:+.4f}"]


def _make_proved_cells(
    study: SearchStudy, selection: Selection, verdict: StudyVerdict
) -> list[str]:
    words = ""
    if selection.is_baseline:
        words = "is it"
    elif BASELINE in verdict.versus:
        words = verdict.versus[BASELINE].find_deciding(study.config.decide_by).words
    short = {"not distinguishable": "level"}
    to_best = verdict.versus[BEST].loss if BEST in verdict.versus else None
    return [f"{verdict.loss:.4f}", *_describe_gap(to_best), short.get(words, words)]


def _describe_gap(difference: Difference | None) -> list[str]:
    if difference is None:  # it is the choice of the largest budget
        return ["", ""]
    return [f"{difference.mean:+.4f}", f"{difference.low:+.4f} to {difference.high:+.4f}"]
