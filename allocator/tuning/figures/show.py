"""Draws, and says where the figures are; a figure that fails costs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.text import Text

Warn = Callable[[str], None]


def show_drawn(console: Console, draw: Callable[[Warn], list[Path]]) -> None:
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
