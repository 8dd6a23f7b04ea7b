"""Two ways to show what a run is doing: a line that moves, and lines that follow each other."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.segment import Segments
from rich.spinner import Spinner
from rich.text import Text

from allocator.progress.time_left import Clock

Describe = Callable[[], str]
"""Function that describes what the run is doing, in one line."""

_INTERVAL = 60.0  # seconds between two lines of one phase


class Display(Protocol):
    """Shows what a run is doing, also while the run computes or waits."""

    shows_tables: bool
    """Whether tables are shown."""

    def start(self) -> None:
        """Begin to show it."""

    def stop(self) -> None:
        """Show nothing any more."""

    def show_phase(self) -> None:
        """Show that another phase has begun."""

    def show_table(self, table: RenderableType) -> None:
        """Show a table in place of the one before."""

    def keep_table(self) -> None:
        """Leave the last table where it is."""


def choose_display(console: Console, describe: Describe, clock: Clock) -> Display:
    """Choose how to show what a run is doing on a console."""
    if console.quiet:
        return NoDisplay()
    # Colours can be asked for where there is no terminal, as in the logs of a build server.
    if console.is_interactive and console.file.isatty():
        return TerminalDisplay(console, describe)
    return LineDisplay(console, describe, clock)


class NoDisplay:
    """Shows nothing."""

    shows_tables = False

    def start(self) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Show nothing."""

    def show_phase(self) -> None:
        """Show nothing."""

    def show_table(self, table: RenderableType) -> None:
        """Show nothing."""

    def keep_table(self) -> None:
        """Show nothing."""


class LineDisplay(NoDisplay):
    """Prints a line when a phase begins, and one for each minute without a line."""

    def __init__(self, console: Console, describe: Describe, clock: Clock) -> None:
        self._console, self._describe, self._clock = console, describe, clock
        self._last = clock()
        self._stopped = threading.Event()
        # A daemon, which does not keep a process that fails from ending.
        self._watcher = threading.Thread(target=self._watch_clock, daemon=True)

    def start(self) -> None:
        """Begin to look at the clock."""
        self._watcher.start()

    def stop(self) -> None:
        """Print no more lines."""
        self._stopped.set()
        self._watcher.join()

    def show_phase(self) -> None:
        """Print a line at once."""
        self._last = self._clock()
        # As text, because a task's name may hold brackets; not wrapped, as it is one line of a log.
        self._console.print(Text(self._describe()), soft_wrap=True)

    def look_at_clock(self) -> None:
        """Print a line if there was none for a minute."""
        if self._clock() - self._last >= _INTERVAL:
            self.show_phase()

    def _watch_clock(self) -> None:
        while not self._stopped.wait(1.0):
            self.look_at_clock()


class TerminalDisplay(NoDisplay):
    """Redraws a line, and a table above it, several times a second."""

    shows_tables = True

    def __init__(self, console: Console, describe: Describe) -> None:
        self._console, self._describe = console, describe
        self._spinner = Spinner("dots", style="cyan")
        self._table: Segments | None = None
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )
        self._handler: signal.Handlers | int | Callable[..., object] | None = None

    def start(self) -> None:
        """Begin to redraw."""
        # The terminal's cursor is hidden meanwhile, and must come back if the process is ended.
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._end)
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Remove the line; the table and what was printed above it stay."""
        self.keep_table()
        self._live.stop()
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def show_phase(self) -> None:
        """Redraw at once: what comes next may leave no time for it."""
        self._live.refresh()

    def show_table(self, table: RenderableType) -> None:
        """Show a table above the line in place of the one before."""
        # Laid out once, not as often as the line: that would take a twentieth of a processor.
        self._table = Segments(list(self._console.render(table)))
        self._live.refresh()

    def keep_table(self) -> None:
        """Print the last table above the line, where it stays."""
        table, self._table = self._table, None
        if table is not None:
            self._console.print(table, end="")

    def _render(self) -> RenderableType:
        frame = self._spinner.render(self._console.get_time())
        assert isinstance(frame, Text)  # without a text of its own
        line = Text.assemble(frame, " ", self._describe(), no_wrap=True, overflow="ellipsis")
        return line if self._table is None else Group(self._table, line)

    def _end(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._console.show_cursor(True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
