"""Draw figures as PNG in one headless browser, if the machine has one."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import psutil

from allocator.tuning.rendering import browser

_TIMEOUT = 60.0  # seconds for the browser to start and to draw all figures
_PROGRAM = Path(browser.__file__)
_WIDTH, _HEIGHT = 1000, 560  # size of a figure whose layout has none, in CSS pixels
_SCALE = 2  # pixels of the PNG for each CSS pixel, so that text is sharp on dense screens
_HINT = (
    "for pictures install Chromium or Chrome (Debian, Ubuntu: apt-get install chromium), or name "
    "one in BROWSER_PATH"
)


class RenderingError(Exception):
    """Failure to draw any figure; the message states the reason and a remedy in one line."""


def render_png(figures: Sequence[go.Figure]) -> list[bytes]:
    """Draw figures in the sizes of their layouts, or 1000 by 560 if these have none.

    Returns:
        The content of one PNG file for each figure.

    Raises:
        RenderingError: If no browser is found, or it fails, or it takes over a minute.
    """
    answer = _run_browser(
        # plotly's own JSON: `json.dumps` alone would refuse NumPy arrays.
        [(json.loads(figure.to_json()), _make_options(figure)) for figure in figures]
    )
    if "pictures" in answer:
        return [base64.b64decode(picture) for picture in answer["pictures"]]
    if answer["error"] == "ChromeNotFoundError":
        raise RenderingError(f"no browser was found, so no PNG is written; {_HINT}")
    raise RenderingError(f"the browser failed ({answer['error']}), so no PNG is written; {_HINT}")


def _run_browser(requests: object) -> dict[str, Any]:
    """Run the program `browser.py`; if it hangs, kill it together with its browser."""
    process = subprocess.Popen(
        # -P keeps the program's folder off the import path, so that its modules shadow no others.
        [sys.executable, "-P", str(_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        output, _ = process.communicate(json.dumps(requests).encode(), timeout=_TIMEOUT)
        answer: dict[str, Any] = json.loads(output)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {_TIMEOUT:g} seconds"}
    # No answer, or a part of one: the program crashed or was killed.
    except ValueError:
        return {"error": "it ended without an answer"}
    finally:
        # After the timeout, or after an exception such as Ctrl-C.
        if process.poll() is None:
            browser.kill_tree(psutil.Process(process.pid))
            process.communicate()
    return answer


def _make_options(figure: go.Figure) -> dict[str, object]:
    return {
        "format": "png",
        "width": figure.layout.width or _WIDTH,
        "height": figure.layout.height or _HEIGHT,
        "scale": _SCALE,
    }
