"""The figure of what each rank and rate does to the objective, with what can be told of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from allocator.tuning.evidence.effect_sentences import describe_effect, name_parameter
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.evidence.told_changes import BAND, TOLD, find_changes
from allocator.tuning.figures.appearance import COLOURS, REFERENCE, TEMPLATE, make_title
from allocator.tuning.figures.ranged_line import make_translucent

_COLUMNS = 4
_TICKS = 4  # of every horizontal axis
_PANEL_HEIGHT, _MARGINS = 260, 150  # pixels for each row of panels, and above and below them
_RATE_COLOUR = COLOURS["core"]


def draw_effects(effects: Sequence[MarginalEffect], *, objective: str) -> go.Figure:
    """Draw a panel for each parameter: the difference to the allocation's own value, and its band.

    The band is two standard deviations of that difference to either side. What is told is thick.

    Args:
        effects: At least one.
        objective: Name of the objective.
    """
    rows = math.ceil(len(effects) / _COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=min(len(effects), _COLUMNS),
        shared_yaxes="all",
        subplot_titles=[name_parameter(effect.name) for effect in effects],
        horizontal_spacing=0.04,
        vertical_spacing=0.25 / rows,
    )
    for place, effect in enumerate(effects):
        row, column = place // _COLUMNS + 1, place % _COLUMNS + 1
        figure.add_traces(_draw_panel(effect), rows=row, cols=column)
        ticks = _choose_ticks(effect)
        labels = [f"{value:.2g}" for value in ticks]
        # Values that differ by less than their labels do get one label.
        labels = [label if label not in labels[:i] else "" for i, label in enumerate(labels)]
        figure.update_xaxes(tickvals=ticks, ticktext=labels, row=row, col=column)
    figure.add_hline(0.0, line=REFERENCE)
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            "What each rank and rate does",
            f"{objective} minus that at the dot (dashed), all else equal; band: ± "
            f"{BAND:g} standard deviations; thick: beyond {TOLD:g} of them, which is told",
        ),
        showlegend=False,
        margin_t=110,  # room for the panels' titles
        height=_MARGINS + _PANEL_HEIGHT * rows,
    )
    figure.update_xaxes(type="log")
    figure.update_yaxes(title_text="difference", col=1)
    return figure


def _choose_ticks(effect: MarginalEffect) -> list[float]:
    """Choose values for the axis: the ends, and some between them."""
    places = np.linspace(0, len(effect.values) - 1, _TICKS).round().astype(int)
    return [float(value) for value in np.unique(effect.values[places])]


def _draw_panel(effect: MarginalEffect) -> list[go.Scatter]:
    colour = COLOURS.get(effect.name.removeprefix("rank_"), _RATE_COLOUR)
    values = effect.values.tolist()
    mean, margin = effect.differences[effect.own], BAND * effect.errors[effect.own]
    band = go.Scatter(
        # Along the upper edge and back along the lower one.
        x=[*values, *values[::-1]],
        y=[*(mean + margin).tolist(), *(mean - margin)[::-1].tolist()],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=make_translucent(colour),
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=values,
        y=mean.tolist(),
        name=effect.name,
        mode="lines",
        line={"color": colour, "width": 1.5},
        hovertemplate=f"%{{x:.3g}}: %{{y:+.4f}}<br>{describe_effect(effect)}<extra></extra>",
    )
    told = [
        go.Scatter(
            x=values[change.start : change.end + 1],
            y=mean[change.start : change.end + 1].tolist(),
            mode="lines",
            line={"color": colour, "width": 5},
            hoverinfo="skip",
        )
        for change in find_changes(effect)
    ]
    own = go.Scatter(
        x=[values[effect.own]],
        y=[0.0],
        mode="markers",
        marker={"color": colour, "size": 9},
        hoverinfo="skip",
    )
    return [band, line, *told, own]
