"""Writes figures as HTML that needs no network, and as PNG where a browser can draw them."""

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

_PLOTLY_JS = "plotly.min.js"  # the name that plotly gives it


def save_figures(
    folder: Path, figures: Mapping[str, go.Figure], *, warn: Callable[[str], None]
) -> list[Path]:
    """Write every figure into a folder, each file whole or not at all.

    Args:
        folder: Made where it is missing.
        figures: By the names of their files.
        warn: Takes a line that says why there is no PNG, where there is none.

    Returns:
        The HTML files, then the PNG files. The HTML files share the folder's `plotly.min.js`.
    """
    if not figures:
        return []
    folder.mkdir(parents=True, exist_ok=True)
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
    """Store figures with a study, in place of those of the same names."""
    with warnings.catch_warnings():
        # What the dashboard imports, over seconds, uses deprecated parts of PyTorch.
        warnings.simplefilter("ignore", DeprecationWarning)
        from optuna_dashboard import save_plotly_graph_object  # noqa: PLC0415
    for name, figure in figures.items():
        save_plotly_graph_object(study, figure, graph_object_id=name)


def draw_and_print(console: Console, draw: Callable[[Warn], list[Path]]) -> None:
    """Draw figures into files and print where they are, or a line that says why they are not.

    Args:
        console: Where it is said.
        draw: Given what takes a warning; gives the files.
    """
    warnings: list[str] = []
    try:
        paths = draw(warnings.append)
    except Exception as problem:  # noqa: BLE001  # no picture may cost a run its result
        paths = []
        warnings.append(f"not drawn: {type(problem).__name__}: {problem}")
    if paths:
        console.print(Text(f"  look at {paths[0].parent}"), soft_wrap=True)
    for warning in warnings:
        console.print(
            f"[yellow]figures[/yellow]: {escape(warning)}", highlight=False, soft_wrap=True
        )
