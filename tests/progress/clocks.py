"""A clock that tests turn by hand."""

from __future__ import annotations


class HandClock:
    """Tells the seconds that a test has let pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
