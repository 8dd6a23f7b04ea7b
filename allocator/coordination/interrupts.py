"""Ctrl-C and SIGTERM, let through only where nothing is being written."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Turns a signal into `KeyboardInterrupt`, but only while its process waits.

    An exception in the middle of a storage's transaction would leave the storage locked, and what
    is told of a trial half told. A signal that comes elsewhere is kept until the next wait.
    """

    def __init__(self) -> None:
        self._came = False
        self._is_waiting = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals until the context ends."""
        before = {kind: signal.signal(kind, self._handle) for kind in _SIGNALS}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a signal through, one that came before at once.

        Raises:
            KeyboardInterrupt: When a signal comes.
        """
        self._is_waiting = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_waiting = False

    def _handle(self, *_: object) -> None:
        self._came = True
        if self._is_waiting:
            raise KeyboardInterrupt
