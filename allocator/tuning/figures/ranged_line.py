"""A line through the means over several tensors, in the range of their values."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from allocator.tuning.figures.appearance import COLOURS, MARKERS

_FAINT = 0.15


def draw_ranged_line(
    table: pd.DataFrame, x: str, y: str, *, mode: str, in_legend: bool = True, floor: float = 0.0
) -> list[go.Scatter]:
    """Draw one mode: the mean of `y` at every `x`, and its range where there are several values.

    Args:
        table: The mode's rows.
        x: Column along the horizontal axis.
        y: Column along the vertical axis.
        mode: Whose colour and marker the line has.
        in_legend: Whether the legend names the line.
        floor: Where the range ends at the latest; a logarithmic axis has no zero.
    """
    values = table.groupby(x)[y].agg(["mean", "min", "max"])
    line = go.Scatter(
        x=values.index.tolist(),
        y=values["mean"].tolist(),
        name=mode,
        legendgroup=mode,
        showlegend=in_legend,
        mode="lines+markers",
        line={"color": COLOURS[mode], "width": 2},
        marker={"symbol": MARKERS[mode], "size": 8},
    )
    if (values["min"] == values["max"]).all():
        return [line]
    outline = [*values["max"], *values["min"].clip(lower=floor)[::-1]]
    band = go.Scatter(
        x=[*values.index, *values.index[::-1]],
        y=outline,
        legendgroup=mode,
        showlegend=False,
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=_translucent(COLOURS[mode]),
        hoverinfo="skip",
    )
    return [band, line]


def _translucent(colour: str) -> str:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return f"rgba({red},{green},{blue},{_FAINT})"
