"""The final tables that are logged."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from allocator.tuning.loggers.logger import Cell, ResultTable
from allocator.tuning.loggers.training_runs import list_hyperparameters
from allocator.tuning.space.space import Params
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import Difference, StudyVerdict
from allocator.tuning.study.write_front import WrittenBest, WrittenFront

_COLUMNS = (
    *("budget", "measure", "allocation", "hyperparameters", "parameters", "mean"),
    *("difference", "standard_error", "low", "high", "verdict"),
)
CHOICE = "choice"
"""Name of the choice in the column `allocation`; opponents have their own."""


def make_study_table(study: SearchStudy, front: WrittenFront) -> ResultTable:
    """Make the table of a study's choices and of what they are compared with.

    Returns:
        For each budget and measure a row for the choice, and one for each opponent: its
        hyperparameters, number of parameters and mean; the choice minus it, with the standard
        error, the 95% interval and the verdict in words. The measures are the loss and the metric
        on dev, or without a verdict what the search expects.
    """
    rows = [row for written in front.choices for row in _list_rows(study, written)]
    return ResultTable(columns=_COLUMNS, rows=tuple(rows))


def make_frame_table(frame: pd.DataFrame) -> ResultTable:
    """Make a table of a data frame, such as the summary of a sweep."""
    # Numbers of Python's own, and None for what is missing.
    rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return ResultTable(columns=tuple(frame.columns), rows=tuple(map(tuple, rows)))


def _list_rows(study: SearchStudy, written: WrittenBest) -> Iterator[tuple[Cell, ...]]:
    selection, verdict = written.selection, written.verdict
    best = selection.best
    if verdict is None or not verdict.versus:
        measure = f"expected {study.objective.name}"
        shown = _describe(study, best.allocation.params)
        yield (selection.budget, measure, CHOICE, *shown, best.expected, *(None,) * 5)
        for name, choice in selection.opponents.items():
            shown = _describe(study, choice.allocation.params)
            numbers = (choice.expected, best.expected - choice.expected)
            yield (selection.budget, measure, name, *shown, *numbers, *(None,) * 4)
        return
    for measure, differences in _list_differences(study, verdict).items():
        shown = _describe(study, verdict.params)
        mean = next(iter(differences.values())).choice
        yield (selection.budget, f"{measure} on dev", CHOICE, *shown, mean, *(None,) * 5)
        for name, d in differences.items():
            shown = _describe(study, verdict.versus[name].params)
            compared = (d.opponent, d.mean, d.error, d.low, d.high, d.words)
            yield (selection.budget, f"{measure} on dev", name, *shown, *compared)


def _list_differences(
    study: SearchStudy, verdict: StudyVerdict
) -> dict[str, dict[str, Difference]]:
    """List the differences to all opponents, by measure and by opponent."""
    return {
        "loss": {name: versus.loss for name, versus in verdict.versus.items()},
        study.config.task.metric: {name: v.metric for name, v in verdict.versus.items()},
    }


def _describe(study: SearchStudy, params: Params) -> tuple[str, int]:
    """Describe an allocation: its hyperparameters in one line, and how many parameters it has."""
    spec, allocation = study.space.find_variant(params).spec, study.space.make_allocation(params)
    listed = list_hyperparameters(spec, allocation)
    size = study.space.num_parameters(params)
    del listed["parameters"]
    shown = (f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in listed.items())
    return ", ".join(shown), size
