"""Draw the figures of a study, into its folder and onto its page of optuna-dashboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from allocator.coordination.records import Records
from allocator.files.study_folder import FIGURES_FOLDER, UNIFORM, TableName
from allocator.tuning.evidence.choice import Selection
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.figures.budget_split import draw_budget_split, tabulate_parameters
from allocator.tuning.figures.effect_panels import draw_effects
from allocator.tuning.figures.front import draw_study_front
from allocator.tuning.figures.output import Warn, save_figures, store_on_dashboard
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


def draw_study(
    study: SearchStudy,
    front: Sequence[Selection],
    effects: Sequence[MarginalEffect],
    *,
    warn: Warn,
) -> list[Path]:
    """Draw a study's figures, replacing earlier ones.

    Args:
        study: The study. Files are written to `figures/` in its folder, and the figures for
            optuna-dashboard to its storage.
        front: The study's choices for all its budgets, the largest last.
        effects: What every rank and rate does.
        warn: Called with the reason if no PNG could be drawn.

    Returns:
        The files.
    """
    figures = make_study_figures(study, front, effects)
    store_on_dashboard(study.study, figures)
    return save_figures(study.folder / FIGURES_FOLDER, figures, warn=warn)


def make_study_figures(
    study: SearchStudy, front: Sequence[Selection], effects: Sequence[MarginalEffect]
) -> dict[str, go.Figure]:
    """Make the figures for which a study has data, by name."""
    parameters = [
        tabulate_parameters(
            name, study.space.find_variant(params).shape, study.space.read_ranks(params)
        )
        for name, params in _list_compared_allocations(study, front[-1]).items()
    ]
    figures = {"budget-split": draw_budget_split(pd.concat(parameters), budget=study.config.budget)}
    if len(front) > 1:
        figures["front"] = draw_study_front(study, front)
    if effects:
        figures["effects"] = draw_effects(effects, objective=study.objective.name)
    return figures | make_baseline_figures(study.baseline)


def make_baseline_figures(records: Records) -> dict[str, go.Figure]:
    """Make the figures of a baseline's tables, by name; none if its adapter has no core."""
    figures = {}
    for name, (table_name, draw) in _BASELINE_FIGURES.items():
        table = records.read(table_name)
        if not table.empty and UNIFORM in set(table.name):
            figures[name] = draw(table[table.name == UNIFORM])
    return figures


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
