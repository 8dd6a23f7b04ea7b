"""Commands in processes of their own: when they say something, on a terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

PHASES = (
    "importing PyTorch and transformers",
    "loading the task",
    "checking the examples, and that the model trains exactly",
    "starting workers",
    "timing packs",
    "training",
    "drawing figures",
)
Writes = list[tuple[float, bytes]]


def start(arguments: Sequence[str], *, on_terminal: bool) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command whose output goes to a terminal or into a pipe; return the other end too."""
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-m", "allocator", *arguments]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    return process, ours


def follow(process: subprocess.Popen[bytes], end: int) -> Writes:
    """Note what a command writes, and when, until it ends."""
    begun, writes = time.monotonic(), []
    while True:
        select.select([end], [], [])
        try:
            written = os.read(end, 65536)
        except OSError:  # how a terminal says that nobody writes any more
            written = b""
        if not written:
            break
        writes.append((time.monotonic() - begun, written))
    os.close(end)
    assert process.wait() == 0
    return writes


def run(arguments: Sequence[str], *, on_terminal: bool) -> Writes:
    return follow(*start(arguments, on_terminal=on_terminal))


def read_text(writes: Writes) -> str:
    return b"".join(written for _, written in writes).decode()


@pytest.fixture
def asked(tiny_bert: Path, small_glue: Path, tmp_path: Path) -> list[str]:
    return [
        *["--task", "cola", "--model", str(tiny_bert), "--data-dir", str(small_glue)],
        *["--studies-dir", str(tmp_path), "--study", "spoken", "--epochs", "1"],
    ]


SEARCH = ["search", "--budget", "600", "--trials", "8", "--verdict-seeds", "1", "--rivals", "none"]


@pytest.mark.slow
def test_a_terminal_is_never_silent_for_ten_seconds(asked: list[str], tmp_path: Path) -> None:
    for arguments in (
        [*SEARCH, *asked],
        ["train", "--config", str(tmp_path / "spoken" / "best.yaml"), *asked[4:6]],
    ):
        writes = run(arguments, on_terminal=True)
        times = [0.0, *(when for when, _ in writes)]
        assert times[1] < 5  # a second, where nothing else keeps the machine busy
        assert max(b - a for a, b in pairwise(times)) < 10
        assert PHASES[0] in read_text(writes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        SEARCH,
        ["baseline", "--budget", "600"],
        ["sweep", "tenslora-plus", "--seeds", "1"],
    ],
)
def test_a_pipe_gets_a_line_for_every_phase(command: list[str], asked: list[str]) -> None:
    text = read_text(run([*command, *asked], on_terminal=False))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    said = [line.split(" ", 1)[1] for line in text.splitlines() if re.match(r"\d+:\d\d ", line)]
    for phase in PHASES:
        assert any(line.startswith(phase) for line in said)
    assert any("done" in line and "left" in line for line in said)
    if command == SEARCH:
        for phase in ("training the choice on all of train", "scoring on dev"):
            assert any(line.startswith(phase) for line in said)


@pytest.mark.slow
def test_a_terminal_gets_its_cursor_back_when_the_process_is_ended(asked: list[str]) -> None:
    process, end = start([*SEARCH, *asked], on_terminal=True)
    shown = b""
    while b"\x1b[?25l" not in shown:
        shown += os.read(end, 65536)
    process.send_signal(signal.SIGTERM)
    while b"\x1b[?25h" not in shown:
        shown += os.read(end, 65536)
    assert process.wait() == -signal.SIGTERM
    os.close(end)
