"""The figure of the leading allocations: how far each is from the choice, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from allocator.tuning.evidence.choice import Selection
from allocator.tuning.figures.appearance import GROUP_COLOURS, REFERENCE, TEMPLATE, make_title
from allocator.tuning.study.study import SearchStudy

SHOWN = 12
"""Largest number of allocations in the figure."""

_INTERVAL = 1.96  # standard deviations to either side that 95% of a normal distribution have
_OTHER = "#8C8C8C"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """An allocation beside the choice.

    Attributes:
        name: Its ranks.
        rates: Its learning rates, in words.
        is_choice: Whether it is the choice.
        parameters: Number of its parameters.
        seeds: Number of its trainings that reached their end.
        gap: Its expected value minus that of the choice.
        margin: Half the width of the 95% interval of `gap`.
    """

    name: str
    rates: str
    is_choice: bool
    parameters: int
    seeds: int
    gap: float
    margin: float


def list_contenders(study: SearchStudy, selection: Selection) -> list[Contender]:
    """List the allocations within a budget of which most is expected, the best first.

    Args:
        study: The study.
        selection: Its choice within that budget.
    """
    expectations = study.expect()
    own = expectations.find(selection.best.allocation)
    assert own is not None  # it was chosen among them
    errors = expectations.compute_difference_errors(own)
    within = [
        index
        for index in np.argsort(-expectations.mean, kind="stable").tolist()
        if study.space.fits_budget(expectations.allocations[index].params, selection.budget)
    ]
    # The choice may be behind others, from which it cannot be told apart.
    shown = [index for place, index in enumerate(within) if place < SHOWN or index == own]
    values = expectations.values
    contenders = []
    for index in shown:
        tried = expectations.allocations[index]
        allocation = study.space.make_allocation(tried.params)
        contenders.append(
            Contender(
                name=study.space.describe_ranks(tried.params),
                rates=f"lambda {allocation.core_lr_multiplier:.3g}, "
                f"rate {allocation.learning_rate:.1e}",
                is_choice=index == own,
                parameters=study.space.num_parameters(tried.params),
                seeds=len(tried.completed),
                gap=float(values[index] - values[own]),
                margin=_INTERVAL * float(errors[index]),
            )
        )
    return contenders


def draw_race(
    contenders: Sequence[Contender], *, objective: str, lower_is_better: bool
) -> go.Figure:
    """Draw the distance of every contender to the choice, with its interval.

    Args:
        contenders: The allocations, the best first.
        objective: Name of the value.
        lower_is_better: Whether lower values are better.
    """
    labels = [
        f"{'choice: ' if c.is_choice else ''}{c.name}, {c.parameters:,} parameters<br>"
        f"{c.rates}, {c.seeds} {'seed' if c.seeds == 1 else 'seeds'}"
        for c in contenders
    ]
    places = list(range(len(contenders)))
    colours = [GROUP_COLOURS["choice"] if c.is_choice else _OTHER for c in contenders]
    figure = go.Figure(
        go.Scatter(
            x=[c.gap for c in contenders],
            y=places,
            error_x={"type": "data", "array": [c.margin for c in contenders], "width": 4},
            text=labels,
            hovertemplate="%{text}<br>%{x:+.4f}<extra></extra>",
            mode="markers",
            marker={"size": 10, "color": colours},
        )
    )
    figure.add_vline(0.0, line=REFERENCE)
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            f"How the {len(contenders)} leading allocations compare with the choice",
            f"expected {objective} minus that of the choice (dashed), "
            f"{'lower' if lower_is_better else 'higher'} is better; bars: 95% intervals",
        ),
        height=190 + 46 * len(contenders),
        showlegend=False,
    )
    figure.update_xaxes(title_text=f"{objective}, minus the choice's")
    figure.update_yaxes(
        tickvals=places, ticktext=labels, autorange="reversed", tickfont={"size": 12}
    )
    return figure
