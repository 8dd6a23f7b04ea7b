"""Interruption by Ctrl-C or SIGTERM: only while a run waits, never while it writes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Turn a signal into `KeyboardInterrupt`, but only while the process waits for workers.

    An exception in the middle of a storage's transaction would leave the storage locked, and a
    trial half written. A signal at another time takes effect at the next wait.
    """

    def __init__(self) -> None:
        self._came = False
        self._is_waiting = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals until the context ends; outside the main thread Python gives none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {kind: signal.signal(kind, self._handle) for kind in _SIGNALS}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise an interrupt when a signal comes, or at once if one has come before.

        Raises:
            KeyboardInterrupt: When a signal comes.
        """
        # Set before `_came` is read: a signal between the two raises by itself.
        self._is_waiting = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_waiting = False

    def _handle(self, *_: object) -> None:
        self._came = True
        if self._is_waiting:  # Python runs handlers in the main thread, which waits
            raise KeyboardInterrupt
