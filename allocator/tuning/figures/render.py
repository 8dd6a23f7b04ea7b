"""Draws figures as PNG, all in one headless browser that is found on the machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import plotly.graph_objects as go
from kaleido import Kaleido
from kaleido.errors import (
    BrowserClosedError,
    BrowserFailedError,
    ChromeNotFoundError,
    JavascriptError,
    KaleidoError,
)

_PATIENCE = 30.0  # seconds for the browser to start and to draw everything
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
        RenderingError: If no browser is found, or it fails, or it takes half a minute.
    """
    with ThreadPoolExecutor(1) as thread:  # the caller's may run an event loop already
        return thread.submit(asyncio.run, _render(figures)).result()


async def _render(figures: Sequence[go.Figure]) -> list[bytes]:
    try:
        # Mathematics would be set in type by a script from the network.
        browser = Kaleido(timeout=_PATIENCE, mathjax=False)
    except ChromeNotFoundError:
        raise RenderingError(f"no browser was found, so no PNG is written; {_WAY_OUT}") from None
    try:
        async with asyncio.timeout(_PATIENCE):
            await browser.open()
            return [await browser.calc_fig(figure, opts=_options(figure)) for figure in figures]
    except (BrowserClosedError, BrowserFailedError, JavascriptError, KaleidoError, OSError) as e:
        _kill(getattr(browser, "subprocess", None))  # it might hang, asked to end in vain
        raise RenderingError(
            f"the browser failed ({type(e).__name__}), so no PNG is written; {_WAY_OUT}"
        ) from e
    finally:
        await browser.close()


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    if process is None or process.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own
    else:
        process.kill()


def _options(figure: go.Figure) -> dict[str, object]:
    return {
        "format": "png",
        "width": figure.layout.width or _WIDTH,
        "height": figure.layout.height or _HEIGHT,
        "scale": _SCALE,
    }
