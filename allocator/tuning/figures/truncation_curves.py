"""The figure of the loss with one mode truncated to a lower rank, without training again."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from allocator.tuning.figures.appearance import (
    COLOURS,
    MARKERS,
    REFERENCE,
    TEMPLATE,
    make_title,
    order_modes,
)

_MAX_TICKS = 16  # ticks of the horizontal axis


def draw_truncation_curves(truncation: pd.DataFrame) -> go.Figure:
    """Draw the loss of the trained baseline over the rank to which one mode is truncated.

    Args:
        truncation: Columns `mode`, `rank`, `loss`; not empty. The largest rank of a mode is that of
            the baseline, so that its loss is the untruncated one.
    """
    figure = go.Figure()
    for mode in order_modes(truncation["mode"]):
        rows = truncation[truncation["mode"] == mode].sort_values("rank")
        figure.add_scatter(
            x=rows["rank"].tolist(),
            y=rows["loss"].tolist(),
            name=mode,
            mode="lines+markers",
            line={"color": COLOURS[mode], "width": 2},
            marker={"symbol": MARKERS[mode], "size": 8},
        )
    # The largest rank of all is the baseline's own in its mode, where nothing is truncated.
    untruncated = float(truncation.sort_values("rank")["loss"].iloc[-1])
    figure.add_hline(
        untruncated,
        line=REFERENCE,
        annotation={"text": f"untruncated {untruncated:.4f}", "xanchor": "right"},
        annotation_position="bottom right",
    )
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            "Loss of the trained baseline, one mode truncated",
            "a mode whose line stays flat down to a small rank can give rank away",
        ),
        legend_title_text="mode",
    )
    largest = int(truncation["rank"].max())
    figure.update_xaxes(title_text="rank kept of the mode", dtick=math.ceil(largest / _MAX_TICKS))
    figure.update_yaxes(title_text="calibrated loss, held out")
    return figure
