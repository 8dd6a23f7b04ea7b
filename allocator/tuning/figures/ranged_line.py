"""A line through the means over several tensors, with a band for the range of their values."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from allocator.tuning.figures.appearance import COLOURS, MARKERS

_BAND_OPACITY = 0.15


def draw_ranged_line(
    table: pd.DataFrame, x: str, y: str, *, mode: str, in_legend: bool = True, floor: float = 0.0
) -> list[go.Scatter]:
    """Draw one mode: the mean of `y` at every `x`, and the range if there are several values.

    Args:
        table: Rows of one mode.
        x: Column on the horizontal axis.
        y: Column on the vertical axis.
        mode: The mode, which decides the colour and the marker.
        in_legend: Whether the line is in the legend.
        floor: Lower limit of the band, for logarithmic axes, which have no zero.
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
    # Along the upper edge and back along the lower one.
    outline = [*values["max"], *values["min"].clip(lower=floor)[::-1]]
    band = go.Scatter(
        x=[*values.index, *values.index[::-1]],
        y=outline,
        legendgroup=mode,
        showlegend=False,
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=make_translucent(COLOURS[mode]),
        hoverinfo="skip",
    )
    # The band first, so that the line lies on top.
    return [band, line]


def make_translucent(colour: str) -> str:
    """Make a colour of a band from that of its line."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return f"rgba({red},{green},{blue},{_BAND_OPACITY})"
