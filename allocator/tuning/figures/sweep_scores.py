"""The figure of a sweep: scores of many configurations over several seeds, beside a baseline."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from allocator.tuning.figures.appearance import REFERENCE, TEMPLATE, make_title
from allocator.tuning.space.published_sweep import BASELINE

PHASES = ("baselines", "learning rate", "rank")
_COLOUR = "#882255"  # not the colour of any mode
_POINT_WIDTH, _MARGINS = 60, 300  # pixels for each configuration, and for everything beside them


def draw_sweep_scores(summary: pd.DataFrame, *, metric: str = "score") -> go.Figure:
    """Draw the mean score of each configuration with its standard error, one panel for each phase.

    Args:
        summary: Columns `phase` (one of `PHASES`), `name`, `parameters`, `mean`, `standard_error`,
            `seeds`; not empty.
        metric: Name of the score on the axis.
    """
    phases = [phase for phase in PHASES if phase in set(summary["phase"])]
    tables = [summary[summary["phase"] == phase] for phase in phases]
    figure = make_subplots(
        cols=len(phases),
        shared_yaxes=True,
        subplot_titles=phases,
        # As wide as its points, and one more for the margins.
        column_widths=[len(table) + 1 for table in tables],
        horizontal_spacing=0.02,
    )
    for column, (phase, table) in enumerate(zip(phases, tables, strict=True), start=1):
        figure.add_trace(_draw_points(phase, table), row=1, col=column)
    baseline = _find_baseline(summary)
    figure.add_hline(float(baseline["mean"]), line=REFERENCE)
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            "Configurations by phase",
            f"mean over seeds ± standard error; dashed: {baseline['name']}, "
            f"{baseline['mean']:.4f}; under each name its parameters",
        ),
        showlegend=False,
        margin_t=110,  # room for the panels' titles
        width=max(900, _POINT_WIDTH * len(summary) + _MARGINS),
    )
    # Otherwise plotly guesses from the names whether they are numbers or dates.
    figure.update_xaxes(tickangle=-45, type="category")
    figure.update_yaxes(title_text=f"{metric}, mean over seeds", col=1)
    return figure


def _draw_points(phase: str, table: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=[f"{row.name}<br>{row.parameters:,}" for row in table.itertuples(index=False)],
        y=table["mean"].tolist(),
        error_y={"type": "data", "array": table["standard_error"].tolist(), "width": 5},
        customdata=table[["name", "parameters", "seeds"]].to_numpy(object).tolist(),
        hovertemplate="%{customdata[0]}: %{y:.4f} ± %{error_y.array:.4f}<br>"
        "%{customdata[1]:,} parameters, %{customdata[2]} seeds<extra></extra>",
        mode="markers",
        marker={"size": 10, "color": _COLOUR},
        name=phase,
    )


def _find_baseline(summary: pd.DataFrame) -> pd.Series:
    named = summary[summary["name"] == BASELINE]
    # If the baseline was given up, the first row of its phase stands in.
    chosen = named if len(named) else summary[summary["phase"] == PHASES[0]]
    return (chosen if len(chosen) else summary).iloc[0]
