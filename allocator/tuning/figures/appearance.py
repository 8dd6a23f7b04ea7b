"""The appearance that all figures share: colours, markers and order of modes, fonts and grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import plotly.graph_objects as go

Group = Literal["rival", "uniform baseline", "choice"]
"""What an allocation is beside the choice; figures draw the last group on top."""

# Okabe and Ito's palette, whose colours differ for people with any kind of colour vision. Its
# yellow is too pale for a line on white, and is darkened for `site`.
COLOURS: Mapping[str, str] = {
    "input": "#0072B2",
    "output": "#D55E00",
    "head_dim": "#E69F00",
    "heads": "#009E73",
    "qkv": "#56B4E9",
    "depth": "#CC79A7",
    "site": "#A38F00",
    "core": "#4D4D4D",
}
MARKERS: Mapping[str, str] = {
    "input": "circle",
    "output": "square",
    "head_dim": "diamond",
    "heads": "triangle-up",
    "qkv": "x",
    "depth": "star",
    "site": "cross",
}
GROUP_COLOURS: Mapping[Group, str] = {
    "rival": "#CC79A7",
    "uniform baseline": "#E69F00",
    "choice": "#0072B2",
}
REFERENCE = {"color": "#222222", "dash": "dash", "width": 1.5}

_AXIS = {
    "gridcolor": "#E5E5E5",
    "linecolor": "#888888",
    "ticks": "outside",
    "tickcolor": "#888888",
    "zeroline": False,
    "automargin": True,
    "title": {"standoff": 12, "font": {"size": 15}},
}
# Plotly's own templates are far larger than these figures, and each file would contain one.
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": "#222222"},
        "title": {"x": 0.02, "xanchor": "left", "font": {"size": 18}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"title": {"font": {"size": 14}}},
        "margin": {"l": 70, "r": 30, "t": 80, "b": 60},
        "hovermode": "closest",
    }
)


def order_modes(names: Iterable[str]) -> list[str]:
    """Sort modes into their fixed order, the core last, without duplicates."""
    present = set(names)
    # The order of `COLOURS` is that of legends, in every figure.
    return [name for name in COLOURS if name in present]


def make_title(text: str, explanation: str) -> dict[str, object]:
    """Make a title with a subtitle that explains how to read the figure."""
    small = {"text": explanation, "font": {"size": 13, "color": "#555555"}}
    return {"text": text, "subtitle": small}
