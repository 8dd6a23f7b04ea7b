"""What a run shows on a terminal, and what it prints elsewhere."""

from __future__ import annotations

import io
import re
import threading

import pytest
from rich.console import Console

from allocator.progress.displays import (
    LineDisplay,
    NoDisplay,
    TerminalDisplay,
    choose_display,
)
from allocator.progress.run_progress import RunProgress
from allocator.progress.time_left import Part
from tests.progress.clocks import HandClock


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def make_console(file: io.StringIO, *, is_terminal: bool | None = None) -> Console:
    return Console(file=file, width=80, force_terminal=is_terminal, _environ={"TERM": "xterm"})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_elsewhere_there_is_a_line_for_each_phase_and_one_a_minute(clock: HandClock) -> None:
    printed = io.StringIO()
    progress = RunProgress(make_console(printed), clock)
    display = LineDisplay(progress.console, progress.describe, clock)
    progress._display = display  # without its thread, which looks at the real clock
    progress.expect({"trainings": Part(trainings=10), "figures": Part(seconds=12)})
    progress.begin("loading the task")
    clock.wait(3)
    progress.begin("training", "trainings")
    progress.advance(0.0, "0/10 done")
    for second in range(1, 131):
        clock.wait(1)
        progress.advance(second / 400, f"{second // 40}/10 done", "best calibrated loss 0.6123")
        progress.begin("training")
        display.look_at_clock()
    progress.begin("drawing figures", "figures")
    assert printed.getvalue().splitlines() == [
        "0:00 loading the task",
        "0:03 training",
        "1:03 training: 1/10 done, about 6 min left, best calibrated loss 0.6123",
        "2:03 training: 3/10 done, about 5 min left, best calibrated loss 0.6123",
        # What was done in the end, and what comes next.
        "2:13 training: 3/10 done, about 5 min left, best calibrated loss 0.6123",
        "2:13 drawing figures: less than a minute left",
    ]


def test_a_phase_that_is_silent_for_minutes_has_a_line_for_each(clock: HandClock) -> None:
    printed = io.StringIO()
    display = LineDisplay(make_console(printed), lambda: "timing packs", clock)
    for _ in range(300):
        clock.wait(1)
        display.look_at_clock()
    assert printed.getvalue() == "timing packs\n" * 5


def test_a_log_has_no_control_characters_even_if_it_has_colours() -> None:
    printed = io.StringIO()
    console = make_console(printed, is_terminal=True)  # as FORCE_COLOR makes it
    with RunProgress(console) as progress:
        assert not progress.shows_tables
        progress.begin("loading [model] and data")
    assert printed.getvalue() == "0:00 loading [model] and data\n"


def test_a_terminal_shows_a_line_that_fits_and_clears_it(clock: HandClock) -> None:
    shown = Terminal()
    with RunProgress(make_console(shown, is_terminal=True), clock) as progress:
        assert progress.shows_tables
        progress.expect({"trainings": Part(trainings=1000)})
        progress.begin("training the choice of 40,000 parameters on all of train", "trainings")
        progress.advance(0.0, "0/1000 done")
        clock.wait(4000)
        progress.advance(0.1, "100/1000 done", "best calibrated squared error 0.6123")
        progress.show_table("a table")
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.getvalue())
    assert max(map(len, re.split(r"[\r\n]+", text))) <= 80
    assert "1:06:40 training the choice of 40,000 parameters on all of train: 100/1" in text
    assert shown.getvalue().endswith("\x1b[2K")  # the line is gone
    assert "\x1b[?25h" in shown.getvalue()  # the cursor is back


@pytest.mark.parametrize(
    ("file", "quiet", "kind"),
    [
        (io.StringIO(), False, LineDisplay),
        (Terminal(), False, TerminalDisplay),
        (Terminal(), True, NoDisplay),
    ],
)
def test_where_it_is_printed_decides_how(
    file: io.StringIO, quiet: bool, kind: type[NoDisplay], clock: HandClock
) -> None:
    console = Console(file=file, quiet=quiet, _environ={"TERM": "xterm"})
    assert type(choose_display(console, str, clock)) is kind


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(clock: HandClock) -> None:
    console = Console(file=Terminal(), _environ={"TERM": "dumb"})
    assert type(choose_display(console, str, clock)) is LineDisplay


def test_a_new_part_never_waits_for_the_thread_that_redraws(clock: HandClock) -> None:
    progress = RunProgress(make_console(Terminal(), is_terminal=True), clock)
    waited = threading.Event()

    def redraw() -> None:
        """Describe the run, as the thread that redraws does, from within the display."""
        with display_lock:
            waited.wait(5)
            progress.describe()

    class LockedDisplay(NoDisplay):
        """Waits for the thread that redraws, as rich's live display does."""

        def show_phase(self) -> None:
            """Take the display's lock."""
            waited.set()
            assert display_lock.acquire(timeout=5)
            display_lock.release()

    display_lock = threading.Lock()
    progress._display = LockedDisplay()
    progress.expect({"trainings": Part(trainings=1), "figures": Part(seconds=1)})
    progress.begin("training", "trainings")
    progress.advance(1.0, "1/1 done")
    waited.clear()
    thread = threading.Thread(target=redraw, daemon=True)
    thread.start()
    progress.begin("drawing", "figures")
    thread.join(5)
    assert not thread.is_alive()
