"""Make the figures of a study, and of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from allocator.coordination.records import Records
from allocator.files.study_folder import UNIFORM, TableName
from allocator.tuning.evidence.choice import Selection
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.figures.budget_split import draw_budget_split, tabulate_parameters
from allocator.tuning.figures.effect_panels import draw_effects
from allocator.tuning.figures.front import draw_study_front
from allocator.tuning.figures.learning_curves import draw_learning_curves, list_learning_curves
from allocator.tuning.figures.race_intervals import draw_race, list_contenders
from allocator.tuning.figures.spectrum_figures import (
    draw_singular_values,
    draw_spectra_over_training,
)
from allocator.tuning.figures.truncation_curves import draw_truncation_curves
from allocator.tuning.space.space import Params
from allocator.tuning.storage.trial_memory import read_proposer
from allocator.tuning.study.study import SearchStudy

# For each figure, by name: the table of the baseline that it shows, and the function to draw it.
_BASELINE_FIGURES: Mapping[str, tuple[TableName, Callable[[pd.DataFrame], go.Figure]]] = {
    "singular-values": ("spectra", draw_singular_values),
    "spectra-over-training": ("modes", draw_spectra_over_training),
    "truncation": ("truncation", draw_truncation_curves),
}


def make_study_figures(
    study: SearchStudy, front: Sequence[Selection], effects: Sequence[MarginalEffect]
) -> dict[str, go.Figure]:
    """Make the figures for which a study has data, by name.

    Args:
        study: The study.
        front: Its choices for all its budgets, the largest last.
        effects: What every rank and rate does.
    """
    selection, objective = front[-1], study.objective
    figures = {}
    if len(front) > 1:
        figures["front"] = draw_study_front(study, front)
    contenders = list_contenders(study, selection)
    figures["race"] = draw_race(
        contenders, objective=objective.name, lower_is_better=objective.sign < 0
    )
    if effects:
        figures["effects"] = draw_effects(effects, objective=objective.name)
    curves = list_learning_curves(study, selection)
    if curves:  # a baseline that was trained before the study has none
        scored_on = "dev" if study.config.select_on == "dev" else "what each seed holds out"
        figures["learning-curves"] = draw_learning_curves(
            curves, objective=objective.name, scored_on=scored_on
        )
    figures["budget-split"] = _draw_budget_split(study, selection)
    return figures | make_baseline_figures(study.baseline)


def make_baseline_figures(records: Records) -> dict[str, go.Figure]:
    """Make the figures of a baseline's tables, by name; none if its adapter has no core."""
    figures = {}
    for name, (table_name, draw) in _BASELINE_FIGURES.items():
        table = records.read(table_name)
        if not table.empty and UNIFORM in set(table.name):
            figures[name] = draw(table[table.name == UNIFORM])
    return figures


def _draw_budget_split(study: SearchStudy, selection: Selection) -> go.Figure:
    parameters = [
        tabulate_parameters(
            name, study.space.find_variant(params).shape, study.space.read_ranks(params)
        )
        for name, params in _list_compared_allocations(study, selection).items()
    ]
    return draw_budget_split(pd.concat(parameters), budget=study.config.budget)


def _list_compared_allocations(study: SearchStudy, selection: Selection) -> dict[str, Params]:
    """List the parameters of the allocations that are compared, by a description; each once."""
    compared: dict[str, Params] = {}
    if selection.baseline is not None:
        compared["uniform baseline"] = selection.baseline.allocation.params
    proposed = (t for t in study.trials if read_proposer(t) is not None)
    first = next((t for t in proposed if study.space.has_all_params(t.params)), None)
    if first is not None:
        compared[f"proposed by {read_proposer(first)}"] = first.params
    best = selection.best.allocation.params
    if best not in compared.values():
        return {**compared, "best": best}
    # The best is the baseline or the proposal itself: one bar with both names.
    return {f"best, {n}" if params == best else n: params for n, params in compared.items()}
