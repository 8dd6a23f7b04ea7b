"""The figure of how every training of a study went, from boundary to boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState

from allocator.tuning.evidence.choice import Selection
from allocator.tuning.figures.appearance import GROUP_COLOURS, TEMPLATE, make_title
from allocator.tuning.space.space import Params
from allocator.tuning.storage.trial_memory import (
    BASELINE,
    has_collapsed,
    list_standing,
    read_rival,
    read_seed,
)
from allocator.tuning.study.study import SearchStudy

Group = Literal["pruned", "other", "rival", "uniform baseline", "choice"]
_COLOURS: dict[Group, str] = {
    "pruned": "#D0D0D0",
    "other": "#8C8C8C",
    "rival": GROUP_COLOURS["rival"],
    "uniform baseline": GROUP_COLOURS["uniform baseline"],
    "choice": GROUP_COLOURS["choice"],
}
_COLLAPSED = "#D55E00"


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningCurve:
    """One training, boundary by boundary.

    Attributes:
        group: What it is of, or that it was pruned; the last group is drawn on top.
        name: Description of the training.
        epochs: Epochs at its boundaries.
        values: Value of the objective at each.
        has_collapsed: Whether it collapsed or diverged after the last of them.
    """

    group: Group
    name: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]
    has_collapsed: bool


def list_learning_curves(study: SearchStudy, selection: Selection) -> list[LearningCurve]:
    """List the trainings of a study that have reported anything.

    Args:
        study: The study.
        selection: Its choice, and what that was compared with.
    """
    per_epoch = study.config.training.boundaries_per_epoch
    return [
        LearningCurve(
            group=_find_group(selection, trial),
            name=f"trial {trial.number}, {study.space.describe_ranks(trial.params)}, "
            f"seed {read_seed(trial)}",
            epochs=tuple(step / per_epoch for step in sorted(trial.intermediate_values)),
            values=tuple(value for _, value in sorted(trial.intermediate_values.items())),
            has_collapsed=has_collapsed(trial),
        )
        for trial in list_standing(study.trials)
        if trial.intermediate_values and study.space.has_all_params(trial.params)
    ]


def draw_learning_curves(
    curves: Sequence[LearningCurve], *, objective: str, scored_on: str
) -> go.Figure:
    """Draw the value of every training against its epochs.

    Args:
        curves: The trainings, at least one.
        objective: Name of the value.
        scored_on: What the trainings are scored on, in words.
    """
    figure = go.Figure()
    for group, colour in _COLOURS.items():
        own = [curve for curve in curves if curve.group == group]
        if own:
            figure.add_trace(_draw_group(group, own, colour))
    ends = [curve for curve in curves if curve.has_collapsed]
    if ends:
        figure.add_scatter(
            x=[curve.epochs[-1] for curve in ends],
            y=[curve.values[-1] for curve in ends],
            text=[curve.name for curve in ends],
            hovertemplate="%{text}<extra>collapsed</extra>",
            name="collapsed",
            mode="markers",
            marker={"symbol": "x", "size": 10, "color": _COLLAPSED},
        )
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            f"How {len(curves)} trainings went",
            f"{objective} on {scored_on}; trainings of one allocation differ by their seeds",
        ),
        legend={"traceorder": "reversed"},
    )
    figure.update_xaxes(title_text="epochs of training")
    figure.update_yaxes(title_text=objective)
    return figure


def _find_group(selection: Selection, trial: FrozenTrial) -> Group:
    def is_of(params: Params) -> bool:
        return params == trial.params

    if is_of(selection.best.allocation.params):
        return "choice"
    if trial.state == TrialState.PRUNED:
        return "pruned"
    if selection.baseline is not None and is_of(selection.baseline.allocation.params):
        return "uniform baseline"
    return "rival" if read_rival(trial) not in (None, BASELINE) else "other"


def _draw_group(group: Group, curves: Sequence[LearningCurve], colour: str) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    names: list[str] = []
    for curve in curves:
        # One trace for all, with a gap after each.
        x += [*curve.epochs, None]
        y += [*curve.values, None]
        names += [curve.name] * (len(curve.values) + 1)
    return go.Scatter(
        x=x,
        y=y,
        text=names,
        hovertemplate="%{text}<br>%{y:.4f}<extra></extra>",
        name=group,
        mode="lines+markers",
        line={
            "color": colour,
            "width": 3 if group == "choice" else 1.5,
            "dash": "dot" if group == "pruned" else "solid",
        },
        marker={"size": 7 if group == "choice" else 5},
    )
