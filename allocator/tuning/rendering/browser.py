"""A program that draws figures as PNG in a headless browser.

It runs as a separate process, so that a browser that hangs can be killed.

It reads from standard input a JSON list of pairs, a figure and kaleido's options, and prints JSON:
`{"pictures": [...]}` in base64, or `{"error": NAME}` with the name of the exception.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys
from collections.abc import Sequence

import psutil

Request = tuple[dict[str, object], dict[str, object]]
_CLOSING_TIMEOUT = 5.0  # seconds for the browser to close after everything is drawn


async def draw_figures(requests: Sequence[Request]) -> list[bytes]:
    """Draw all figures in one browser, and return their PNG files."""
    # Only in this program: kaleido's logger reads the options of whatever process imports it, and
    # takes `--log` for one of its own.
    from kaleido import Kaleido  # noqa: PLC0415

    # MathJax is a script that the browser would load from the network.
    browser = Kaleido(timeout=None, mathjax=False)
    await browser.open()
    pictures = [await browser.calc_fig(figure, opts=options) for figure, options in requests]
    # All pictures are there; a browser that does not close is killed in `main`.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSING_TIMEOUT):
            await browser.close()
    return pictures


def kill_children(program: psutil.Process) -> None:
    """Kill all processes that a process has started.

    The browser runs in a session of its own, so killing the program's process group would miss it.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in program.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def kill_tree(program: psutil.Process) -> None:
    """Kill a process and all processes that it has started.

    It is suspended first, so that it cannot start another one meanwhile.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        program.suspend()
        kill_children(program)
        program.kill()


def main() -> None:
    """Answer one request, and exit at once even if threads are still running."""
    try:
        pictures = asyncio.run(draw_figures(json.load(sys.stdin)))
        answer: object = {"pictures": [base64.b64encode(p).decode("ascii") for p in pictures]}
    except Exception as problem:  # noqa: BLE001  # its name is the answer
        answer = {"error": type(problem).__name__}
    # Before the answer, after which nobody watches over the browser any more.
    kill_children(psutil.Process())
    print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
