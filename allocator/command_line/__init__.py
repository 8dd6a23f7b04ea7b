"""The parser, and how a command's options become its configuration.

Every command imports this first. From then on an interrupt (Ctrl-C) that nothing catches, as
between two imports, which take seconds, ends the command without a traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

_show_uncaught = sys.excepthook


def _show_no_interrupt(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _show_uncaught(kind, error, traceback)


def _is_command() -> bool:
    """Whether this process runs a command, and not a program that imports one."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    # A console script has no specification, and its own name.
    return spec.name.startswith("allocator.") if spec else Path(sys.argv[0]).stem == "allocator"


if _is_command():
    sys.excepthook = _show_no_interrupt
