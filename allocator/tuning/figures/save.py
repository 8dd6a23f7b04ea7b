"""Writes figures as HTML that needs no network, and as PNG where a browser can draw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from allocator.tuning.figures.render import RenderingError, render_png
from allocator.whole_files import write_whole

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
