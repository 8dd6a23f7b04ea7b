"""Write figures as HTML that works offline, and as PNG where a browser can draw them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from allocator.files.whole_files import write_whole
from allocator.tuning.rendering.png import RenderingError, render_png

Warn = Callable[[str], None]
"""Function that shows a warning of one line."""

_PLOTLY_JS = "plotly.min.js"  # the name that the HTML files refer to


def save_figures(folder: Path, figures: Mapping[str, go.Figure], *, warn: Warn) -> Path | None:
    """Write figures into a folder, each file completely or not at all.

    Args:
        folder: Folder for the files; created if it is missing.
        figures: Figures by name; files have the same names, with an extension.
        warn: Called with the reason if no PNG could be drawn.

    Returns:
        The folder, or None if there are no figures. Its HTML files share its `plotly.min.js`.
    """
    if not figures:
        return None
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
    return folder


def draw_and_print(console: Console, draw: Callable[[Warn], Iterable[Path | None]]) -> None:
    """Draw into files and print what to look at, or why there is nothing.

    Args:
        console: Console to print on.
        draw: Draws, and returns one after the other what to look at, where there is anything;
            called with a function for warnings.
    """
    reasons: list[str] = []
    try:
        for drawn in draw(reasons.append):
            if drawn is not None:
                console.print(Text(f"  look at {drawn}"), soft_wrap=True)
    except Exception as problem:  # noqa: BLE001  # a failed figure must not cost a run its result
        reasons.append(f"not drawn: {type(problem).__name__}: {problem}")
    for reason in reasons:
        console.print(
            f"[yellow]figures[/yellow]: {escape(reason)}", highlight=False, soft_wrap=True
        )
