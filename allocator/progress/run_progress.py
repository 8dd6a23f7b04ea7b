"""What a run is doing: it announces its phases, and a display shows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import RLock
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType

from allocator.progress.displays import Display, NoDisplay, choose_display
from allocator.progress.time_left import (
    Clock,
    Part,
    TimeLeft,
    describe_elapsed,
    describe_left,
)

Announce = Callable[[str], None]
"""Function that is told what a run does now, as `RunProgress.begin` is."""


# Phases of every command that trains, in words.
IMPORTING = "importing PyTorch and transformers"
CHECKING = "checking the examples, and that the model trains exactly"


def say_nothing(phase: str) -> None:
    """Show nothing of a phase."""
    del phase


class RunProgress:
    """Where a run is: its phase, what it has done, and the time that is left.

    As a context it shows that on its console: on a terminal in a line that moves, with a table of
    the last trainings above it; elsewhere as lines, one for each phase and each minute; and not at
    all on a quiet console. Without the context nothing is shown.

    Args:
        console: The console of the command.
        clock: Tells the time.

    Attributes:
        console: The console of the command, for what it prints besides.
    """

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self.console = console
        self._clock, self._start = clock, clock()
        self._phase = self._done = self._best = ""
        self._left = TimeLeft({}, clock)
        # The display reads from a thread of its own, so that it moves while the run computes.
        self._lock = RLock()
        self._display: Display = NoDisplay()

    def __enter__(self) -> Self:
        """Show the run from now on."""
        self._display = choose_display(self.console, self.describe, self._clock)
        self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop to show it, and leave the terminal as it was."""
        self._display.stop()
        self._display = NoDisplay()

    @property
    def shows_tables(self) -> bool:
        """Whether tables are shown, which are not worth making otherwise."""
        return self._display.shows_tables

    def expect(self, parts: Mapping[str, Part]) -> None:
        """Say what the run has to do, by name and in order, for the time that is left."""
        with self._lock:
            self._left = TimeLeft(parts, self._clock)

    def begin(self, phase: str, part: str | None = None) -> None:
        """Begin a phase.

        Args:
            phase: What the run does now, in a few words.
            part: The part that begins with it, of those that the run was expected to have.
        """
        # The display is never called with the lock, for which its own thread may be waiting.
        if part is not None and self._done:
            self._display.show_phase()  # a last time, with all that was done
        with self._lock:
            if part is not None:
                self._left.begin(part)
                self._done = self._best = ""
            is_new, self._phase = phase != self._phase, phase
        if is_new:
            self._display.show_phase()

    def advance(self, fraction: float, done: str | None = None, best: str = "") -> None:
        """Say how far the part in progress is.

        Args:
            fraction: How much of it is done.
            done: What the run has done, in a few words; None if these and the best still hold.
            best: The best so far, in a few words.
        """
        with self._lock:
            self._left.advance(fraction)
            if done is not None:
                self._done, self._best = done, best

    def show_table(self, table: RenderableType) -> None:
        """Show a table above the line of a terminal, in place of the one before."""
        self._display.show_table(table)

    def keep_table(self) -> None:
        """Leave the last table on the terminal as it is."""
        self._display.keep_table()

    def describe(self) -> str:
        """Describe the time that has passed, the phase, what is done, the time left, the best.

        In this order, as the end of a line that is too long for a terminal is cut off.
        """
        with self._lock:
            left = self._left.estimate()
            known = [self._done, describe_left(left) if left else "", self._best]
            details = ", ".join(filter(None, known))
            elapsed = describe_elapsed(self._clock() - self._start)
            return f"{elapsed} {self._phase}" + (f": {details}" if details else "")
