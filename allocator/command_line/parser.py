"""What all commands share: options, one-line errors, exit statuses."""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from allocator.config import Budget, LoraBudget
from allocator.errors import AllocatorError

INTERRUPTED = 130
LARGEST = 2**31 - 1
"""The largest integer that an option takes: seeds, counts and their products stay in 64 bits."""

EXIT_STATUSES = (
    "exit status: 0 done, 2 a mistake in what was asked (one line says which), "
    "130 interrupted (what has finished is kept), 1 anything else"
)

Main = Callable[[Sequence[str] | None], int]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2, without what follows `://`: a storage's URL may hold a password."""
        shown = re.sub(r"://.*", "://...", message)
        self.exit(2, f"error: {shown} (see {self.prog} --help)\n")


class _Help(argparse.HelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or action.default is False
        silent = silent or action.default in ("", [], argparse.SUPPRESS)
        return action.help if silent else f"{action.help} (default: %(default)s)"


def make_parser(command: str, description: str) -> Parser:
    """Make the parser of a command, which shows defaults in its help."""
    return Parser(
        prog=f"python -m allocator.{command}",
        description=description,
        epilog=EXIT_STATUSES,
        formatter_class=_Help,
    )


def run_command(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run a command; turn a user's mistake into one line on standard error and status 2."""
    _print_anything()
    try:
        return main(argv)
    except AllocatorError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def _print_anything() -> None:
    """Write what an output's encoding lacks as an escape: a folder's name may hold anything."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def parse_positive_integer(text: str) -> int:
    """Parse an option that must be 1 or more."""
    value = _digits(text)
    if not value:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return value


def parse_non_negative_integer(text: str) -> int:
    """Parse an option that must be 0 or more."""
    value = _digits(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"must be an integer of 0 or more, got {text!r}")
    return value


def _digits(text: str) -> int | None:
    """Read a number written in digits alone; None where the text is anything else."""
    if not text.isascii() or not text.isdigit():
        return None
    if len(text) > len(str(LARGEST)) or int(text) > LARGEST:
        raise argparse.ArgumentTypeError(f"must be at most {LARGEST:,}, got {text!r}")
    return int(text)


def parse_positive_number(text: str) -> float:
    """Parse an option that must be a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


def parse_budget(text: str) -> Budget:
    """Parse a budget: a number of parameters, or `lora:R` for as many as LoRA of rank R has."""
    value = _digits(text.removeprefix("lora:"))
    if not value:
        raise argparse.ArgumentTypeError(
            "must be a positive integer, or lora:R for as many parameters as LoRA of rank R has, "
            f"got {text!r}"
        )
    return LoraBudget(value) if text.startswith("lora:") else value


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder that is there, got {text!r}")
    return Path(text)


def fallback_data_dir() -> Path | None:
    """Read the folder of task data that the environment names."""
    value = os.environ.get("ALLOCATOR_DATA_DIR")
    return Path(value) if value else None


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a task's data come from."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data-dir",
        type=_folder,
        metavar="FOLDER",
        help="folder in GLUE's layout; $ALLOCATOR_DATA_DIR names one to look at by itself",
    )
    group.add_argument(
        "--data-source",
        choices=("auto", "dir", "hub", "bundled"),
        default="auto",
        help="auto asks the folders, then the Hugging Face hub, then (cola) the bundled corpus",
    )
