"""Draws figures as PNG, all in one headless browser that is found on the machine."""

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

from allocator.tuning.figures import browser

_PATIENCE = 60.0  # seconds for the browser to start and to draw everything
_PROGRAM = Path(browser.__file__)
_WIDTH, _HEIGHT, _SCALE = 1000, 560, 2  # pixels of a page, and of the picture for each of them
_WAY_OUT = (
    "for pictures install Chromium or Chrome (Debian, Ubuntu: apt-get install chromium), or name "
    "one in BROWSER_PATH"
)


class RenderingError(Exception):
    """Nothing could be drawn; says why, and what would help, in one line."""


def render_png(figures: Sequence[go.Figure]) -> list[bytes]:
    """Draw figures, as wide and high as their layouts say, or else all alike.

    Raises:
        RenderingError: If no browser is found, or it fails, or it takes a minute.
    """
    answer = _ask([(json.loads(figure.to_json()), _options(figure)) for figure in figures])
    if "pictures" in answer:
        return [base64.b64decode(picture) for picture in answer["pictures"]]
    if answer["error"] == "ChromeNotFoundError":
        raise RenderingError(f"no browser was found, so no PNG is written; {_WAY_OUT}")
    raise RenderingError(
        f"the browser failed ({answer['error']}), so no PNG is written; {_WAY_OUT}"
    )


def _ask(requests: object) -> dict[str, Any]:
    """Let the program draw; a browser that hangs is killed with it."""
    process = subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        output, _ = process.communicate(json.dumps(requests).encode(), timeout=_PATIENCE)
        answer: dict[str, Any] = json.loads(output)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {_PATIENCE:g} seconds"}
    except ValueError:
        return {"error": "it ended without an answer"}
    finally:
        if process.poll() is None:
            browser.kill_tree(psutil.Process(process.pid))
            process.communicate()
    return answer


def _options(figure: go.Figure) -> dict[str, object]:
    return {
        "format": "png",
        "width": figure.layout.width or _WIDTH,
        "height": figure.layout.height or _HEIGHT,
        "scale": _SCALE,
    }
