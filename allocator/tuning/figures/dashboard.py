"""Puts figures onto a study's page of optuna-dashboard."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import optuna
import plotly.graph_objects as go


def show_figures(study: optuna.Study, figures: Mapping[str, go.Figure]) -> None:
    """Store figures with a study, in place of those of the same names."""
    with warnings.catch_warnings():
        # What the dashboard imports, over seconds, uses deprecated parts of PyTorch.
        warnings.simplefilter("ignore", DeprecationWarning)
        from optuna_dashboard import save_plotly_graph_object  # noqa: PLC0415
    for name, figure in figures.items():
        save_plotly_graph_object(study, figure, graph_object_id=name)
