"""The parser, and how a command's options become its configuration.

Every command imports this first. From then on an interrupt (Ctrl-C) that nothing catches, as
between two imports, which take seconds, ends the process without a traceback.
"""

from __future__ import annotations

import sys
from types import TracebackType

_show_uncaught = sys.excepthook


def _show_no_interrupt(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _show_uncaught(kind, error, traceback)


sys.excepthook = _show_no_interrupt
