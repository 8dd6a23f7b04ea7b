"""Commands as a user types them, with a mistake in them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from allocator import __main__ as program
from allocator.command_line.parser import run_command


def read_mistake(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """Run a command that must fail with status 2 and one line, and return the line."""
    try:
        status = run_command(program.dispatch, arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    assert status == 2
    assert captured.err.count("\n") == 1
    return captured.err
