"""The figure of how allocations split a budget between the factors of modes and the core."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from allocator.allocation.adapter_shape import AdapterShape
from allocator.tuning.figures.appearance import (
    COLOURS,
    REFERENCE,
    TEMPLATE,
    make_title,
    order_modes,
)

_SMALLEST_LABELLED = 0.04  # fraction of the longest bar that a segment needs for a number to fit in


def tabulate_parameters(name: str, shape: AdapterShape, ranks: Mapping[str, int]) -> pd.DataFrame:
    """Tabulate the parameters of one allocation by part.

    Args:
        name: Name of the allocation in the figure.
        shape: Its adapter shape.
        ranks: Its ranks, by the shape's rank names.

    Returns:
        One row for each part, columns `allocation` (the name), `part` (a mode, or `core`),
        `parameters`.
    """
    rows = [(name, part, count) for part, count in shape.count_parts(ranks).items()]
    return pd.DataFrame(rows, columns=["allocation", "part", "parameters"])


def draw_budget_split(parameters: pd.DataFrame, *, budget: int | None = None) -> go.Figure:
    """Draw one bar for each allocation, divided into the parameters of its parts.

    Args:
        parameters: Concatenated tables of `tabulate_parameters`, not empty. Bars are in the order
            of their first rows.
        budget: Number of parameters at which a line is drawn.
    """
    totals = parameters.groupby("allocation", sort=False)["parameters"].sum()
    names = {name: f"{name}<br>{total:,}" for name, total in totals.items()}
    figure = go.Figure()
    for part in order_modes(parameters["part"]):
        rows = parameters[parameters["part"] == part]
        counts = rows["parameters"].tolist()
        figure.add_bar(
            x=counts,
            y=[names[name] for name in rows["allocation"]],
            name=part,
            orientation="h",
            marker={"color": COLOURS[part], "line": {"color": "white", "width": 0.5}},
            text=[f"{n:,}" if n >= _SMALLEST_LABELLED * totals.max() else "" for n in counts],
            textposition="inside",
            textangle=0,
            insidetextanchor="middle",
            # An empty <extra> drops the box that repeats the trace's name.
            hovertemplate=f"%{{y}}<br>{part}: %{{x:,}}<extra></extra>",
        )
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            "Where the parameters are", "of the core, and of the factor of every mode"
        ),
        barmode="stack",
        bargap=0.35,
        # plotly reverses the legend of stacked bars by default.
        legend={"title": {"text": "part"}, "traceorder": "normal"},
    )
    figure.update_xaxes(title_text="trainable parameters of the adapter", tickformat=",")
    # plotly starts categories at the bottom.
    figure.update_yaxes(categoryarray=list(names.values()), autorange="reversed", showgrid=False)
    if budget is not None:
        figure.add_vline(
            budget,
            line=REFERENCE,
            annotation={"text": f"budget {budget:,}"},
            annotation_position="top left",
        )
    return figure
