"""Figures of how much of its rank a trained core uses in each mode, at the end and over time."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from allocator.tuning.figures.appearance import TEMPLATE, make_title, order_modes
from allocator.tuning.figures.ranged_line import draw_ranged_line

_MAX_DECADES = 6  # decades below the largest singular value; smaller values are rounding errors
_MARGIN = 0.1  # decades above and below the values
_MAX_TICKS = 16  # ticks of an axis
_PANELS = {
    "normalized_entropy": "entropy, as a share of its maximum",
    "top1_energy": "share of energy in the first singular value",
}


def draw_singular_values(spectra: pd.DataFrame) -> go.Figure:
    """Draw the singular values of each mode of the baseline's core at the last boundary.

    Args:
        spectra: Columns `step`, `layer`, `target`, `mode`, `index`, `singular_value`; not empty.
    """
    last = spectra[spectra["step"] == spectra["step"].max()]
    last = last.assign(position=last["index"] + 1)
    largest = last["singular_value"].max()
    lowest = max(last["singular_value"].min(), largest * 10**-_MAX_DECADES)
    figure = go.Figure()
    for mode in order_modes(last["mode"]):
        rows = last[last["mode"] == mode]
        figure.add_traces(
            draw_ranged_line(rows, "position", "singular_value", mode=mode, floor=lowest)
        )
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            "Singular values of the baseline's core, by mode",
            "a steep line leaves rank unused" + _describe_tensors(last),
        ),
        legend_title_text="mode",
    )
    figure.update_xaxes(
        title_text="singular value, numbered from the largest",
        dtick=_compute_tick_step(int(last["position"].max())),
    )
    figure.update_yaxes(title_text="singular value", type="log", tickformat="~g")
    # A core of zeros has no logarithms; plotly then chooses the range.
    if largest > 0:
        ends = math.log10(lowest) - _MARGIN, math.log10(largest) + _MARGIN
        # On a logarithmic axis the range is in exponents, and `dtick=1` is a tick for each decade.
        figure.update_yaxes(range=ends, dtick=1 if ends[1] - ends[0] > 2 else None)
    return figure


def draw_spectra_over_training(modes: pd.DataFrame) -> go.Figure:
    """Draw how evenly the spectrum of each mode is spread, at every boundary of the baseline.

    Args:
        modes: Columns `step`, `layer`, `target`, `mode`, `rank`, `entropy`, `normalized_entropy`,
            `effective_rank`, `top1_energy`, `stable_rank`; not empty.
    """
    figure = make_subplots(cols=2, horizontal_spacing=0.16)
    for column, (measure, label) in enumerate(_PANELS.items(), start=1):
        for mode in order_modes(modes["mode"]):
            rows = modes[modes["mode"] == mode]
            lines = draw_ranged_line(rows, "step", measure, mode=mode, in_legend=column == 1)
            figure.add_traces(lines, rows=1, cols=column)
        # Both measures lie between 0 and 1; the margin keeps markers at the ends whole.
        figure.update_yaxes(title_text=label, range=[-0.03, 1.03], col=column)
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            "Spectra of the baseline's core over training, by mode",
            "entropy 1 uses every rank alike, 0 only one" + _describe_tensors(modes),
        ),
        legend_title_text="mode",
    )
    ticks = sorted(modes["step"].unique().tolist())
    figure.update_xaxes(
        title_text="boundary (evaluation in training)",
        tickvals=ticks[:: _compute_tick_step(len(ticks))],
    )
    return figure


def _describe_tensors(table: pd.DataFrame) -> str:
    tensors = len(table[["layer", "target"]].drop_duplicates())
    return f"; mean and range over {tensors} tensors" if tensors > 1 else ""


def _compute_tick_step(count: int) -> int:
    return math.ceil(count / _MAX_TICKS)
