"""The figure of what every budget buys: the value of its choice against its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from allocator.tuning.evidence.choice import Selection
from allocator.tuning.figures.appearance import (
    GROUP_COLOURS,
    REFERENCE,
    TEMPLATE,
    Group,
    make_title,
)
from allocator.tuning.storage.trial_memory import BASELINE
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import BEST, Difference, StudyVerdict, read_front

_SYMBOLS: dict[Group, str] = {"choice": "circle", "uniform baseline": "square", "rival": "diamond"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontPoint:
    """One allocation of the front.

    Attributes:
        group: What it is.
        name: Its name.
        parameters: Number of its parameters.
        gap: Its value minus that of the choice within the largest budget.
        low: Lower end of the 95% interval of `gap`; `gap` itself where none was computed.
        high: Upper end.
    """

    group: Group
    name: str
    parameters: int
    gap: float
    low: float
    high: float


def draw_study_front(study: SearchStudy, front: Sequence[Selection]) -> go.Figure:
    """Draw what every budget of a study buys.

    Args:
        study: The study.
        front: Its choices for all its budgets, the largest budget last.
    """
    proved = read_front(study.study, front)
    is_proved = proved is not None
    return draw_front(
        list_front_points(study, front),
        value="loss on dev" if is_proved else f"expected {study.objective.name}",
        intervals=_describe_intervals(proved),
        lower_is_better=is_proved or study.objective.sign < 0,
    )


def list_front_points(study: SearchStudy, front: Sequence[Selection]) -> list[FrontPoint]:
    """List the choice of every budget, and what it was compared with.

    Values are losses on dev if all choices were proved there. Otherwise they are expected values of
    the objective, of the choices alone.
    """
    proved = read_front(study.study, front)
    if proved is None:
        points = list(_list_expected(study, front))
    else:
        points = [
            point
            for selection, verdict in zip(front, proved, strict=True)
            for point in _list_proved(study, selection, verdict, is_best=selection is front[-1])
        ]
    return list({(point.group, point.parameters, point.name): point for point in points}.values())


def draw_front(
    points: list[FrontPoint], *, value: str, intervals: str, lower_is_better: bool
) -> go.Figure:
    """Draw the gap to the best of every allocation against its parameters.

    Args:
        points: The allocations.
        value: Name of the value that the gaps are of.
        intervals: What the intervals are, in words; empty if none were computed.
        lower_is_better: Whether lower values are better.
    """
    bars = f"; bars: {intervals}" if intervals else ""
    figure = go.Figure()
    for group, colour in GROUP_COLOURS.items():
        own = sorted((p for p in points if p.group == group), key=lambda p: p.parameters)
        if own:
            figure.add_trace(_draw_group(group, own, colour))
    figure.add_hline(0.0, line=REFERENCE)
    figure.update_layout(
        template=TEMPLATE,
        title=make_title(
            "What every budget buys",
            f"{value} minus that of the choice within the largest budget (dashed), "
            f"{'lower' if lower_is_better else 'higher'} is better{bars}",
        ),
    )
    figure.update_xaxes(title_text="parameters of the adapter", type="log")
    figure.update_yaxes(title_text=f"{value}, minus the best's")
    return figure


def _describe_intervals(proved: Sequence[StudyVerdict] | None) -> str:
    if proved is None:
        return ""
    differences = [versus.loss for verdict in proved for versus in verdict.versus.values()]
    over = "seeds and examples" if all(d.covers_seeds for d in differences) else "examples"
    return f"95% intervals over {over}"


def _list_expected(study: SearchStudy, front: Sequence[Selection]) -> Iterator[FrontPoint]:
    for selection in front:
        gap = selection.best.expected - front[-1].best.expected
        size = study.space.num_parameters(selection.best.allocation.params)
        yield _make_point("choice", f"within {selection.budget:,}", size, gap, None)


def _list_proved(
    study: SearchStudy, selection: Selection, verdict: StudyVerdict, *, is_best: bool
) -> Iterator[FrontPoint]:
    count, within = study.space.num_parameters, f"within {selection.budget:,}"
    to_best = verdict.versus[BEST].loss if BEST in verdict.versus else None
    own_gap = to_best.mean if to_best is not None else 0.0
    yield _make_point("choice", within, count(selection.best.allocation.params), own_gap, to_best)
    for name, versus in verdict.versus.items():
        if name == BEST:
            continue
        is_baseline = name == BASELINE
        # A choice minus its opponent is told, so the signs change; the interval holds only where
        # the choice is the best itself.
        yield _make_point(
            "uniform baseline" if is_baseline else "rival",
            f"uniform baseline {within}" if is_baseline else name,
            count(versus.params),
            own_gap - versus.loss.mean,
            versus.loss if is_best else None,
            sign=-1.0,
        )


def _make_point(
    group: Group,
    name: str,
    parameters: int,
    gap: float,
    difference: Difference | None,
    *,
    sign: float = 1.0,
) -> FrontPoint:
    ends = (gap, gap) if difference is None else (sign * difference.low, sign * difference.high)
    return FrontPoint(
        group=group, name=name, parameters=parameters, gap=gap, low=min(ends), high=max(ends)
    )


def _draw_group(group: Group, points: list[FrontPoint], colour: str) -> go.Scatter:
    return go.Scatter(
        x=[p.parameters for p in points],
        y=[p.gap for p in points],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [p.high - p.gap for p in points],
            "arrayminus": [p.gap - p.low for p in points],
            "width": 5,
        },
        text=[p.name for p in points],
        hovertemplate="%{text}: %{y:+.4f}<br>%{x:,} parameters<extra></extra>",
        name=group,
        mode="lines+markers" if group == "choice" else "markers",
        line={"color": colour, "width": 2},
        marker={"size": 11, "symbol": _SYMBOLS[group], "color": colour},
    )
