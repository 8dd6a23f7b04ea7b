"""Write figures as HTML that works offline, and as PNG where a browser can draw them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from allocator.files.whole_files import write_whole
from allocator.tuning.figures.png import RenderingError, render_png

Warn = Callable[[str], None]
"""Function that shows a warning of one line."""

_PLOTLY_JS = "plotly.min.js"  # the name that the HTML files refer to


def save_figures(folder: Path, figures: Mapping[str, go.Figure], *, warn: Warn) -> list[Path]:
    """Write figures into a folder, each file completely or not at all.

    Args:
        folder: Folder for the files; created if it is missing.
        figures: Figures by name; files have the same names, with an extension.
        warn: Called with the reason if no PNG could be drawn.

    Returns:
        The HTML files, then the PNG files. The HTML files share the folder's `plotly.min.js`.
    """
    if not figures:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    # One copy for all figures of a folder, each of which is far smaller, and no network.
    write_whole(folder / _PLOTLY_JS, get_plotlyjs().encode())
    contents = {
        folder / f"{name}.html": figure.to_html(include_plotlyjs="directory").encode()
        for name, figure in figures.items()
    }
    try:
        pictures = render_png(list(figures.values()))
    except RenderingError as problem:
        warn(str(problem))
    else:
        contents |= {
            folder / f"{name}.png": picture for name, picture in zip(figures, pictures, strict=True)
        }
    for path, content in contents.items():
        write_whole(path, content)
    return list(contents)


def store_on_dashboard(study: optuna.Study, figures: Mapping[str, go.Figure]) -> None:
    """Store figures in a study for optuna-dashboard, replacing those of the same names."""
    with warnings.catch_warnings():
        # The dashboard takes seconds to import, so it is imported only here; some of its modules
        # use deprecated parts of PyTorch.
        warnings.simplefilter("ignore", DeprecationWarning)
        from optuna_dashboard import save_plotly_graph_object  # noqa: PLC0415
    for name, figure in figures.items():
        save_plotly_graph_object(study, figure, graph_object_id=name)


def draw_and_print(console: Console, draw: Callable[[Warn], list[Path]]) -> None:
    """Draw figures into files and print where these are, or why there are none.

    Args:
        console: Console to print on.
        draw: Draws the figures and returns their files; called with a function for warnings.
    """
    reasons: list[str] = []
    try:
        paths = draw(reasons.append)
    except Exception as problem:  # noqa: BLE001  # a failed figure must not cost a run its result
        paths = []
        reasons.append(f"not drawn: {type(problem).__name__}: {problem}")
    if paths:
        console.print(Text(f"  look at {paths[0].parent}"), soft_wrap=True)
    for reason in reasons:
        console.print(
            f"[yellow]figures[/yellow]: {escape(reason)}", highlight=False, soft_wrap=True
        )
