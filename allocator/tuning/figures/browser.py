"""A program that draws figures as PNG in a headless browser; its own, so that it can be killed.

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
from kaleido import Kaleido

Request = tuple[dict[str, object], dict[str, object]]
_PATIENCE = 5.0  # seconds for the browser to close, once all is drawn


async def draw(requests: Sequence[Request]) -> list[bytes]:
    """Draw every figure in one browser."""
    # Mathematics would be set in type by a script from the network.
    browser = Kaleido(timeout=None, mathjax=False)
    await browser.open()
    pictures = [await browser.calc_fig(figure, opts=options) for figure, options in requests]
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_PATIENCE):
            await browser.close()
    return pictures


def kill_children(program: psutil.Process) -> None:
    """Kill all that a process has started; a browser leads a session of its own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in program.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def kill_tree(program: psutil.Process) -> None:
    """Kill a process and all that it has started, of which it can start no more meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        program.suspend()
        kill_children(program)
        program.kill()


def main() -> None:
    """Answer one request, and end at once, whatever threads and processes are left."""
    try:
        pictures = asyncio.run(draw(json.load(sys.stdin)))
        answer: object = {"pictures": [base64.b64encode(p).decode("ascii") for p in pictures]}
    except Exception as problem:  # noqa: BLE001  # whoever asked is told
        answer = {"error": type(problem).__name__}
    kill_children(psutil.Process())
    print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
