"""The parser of every command, with one-line errors, and functions that parse single values."""

from __future__ import annotations

import argparse
import io
import math
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from allocator.config import Budget, LoraBudget
from allocator.errors import AllocatorError, describe_unknown

# As shells report SIGINT: 128 plus its number, 2.
INTERRUPTED = 130
LARGEST = 2**31 - 1
"""The largest integer that an option takes, so that products of counts stay within 64 bits."""

EXIT_STATUSES = (
    "exit status: 0 done, 2 a mistake in what was asked (one line says which), "
    "130 interrupted (what has finished is kept), 1 anything else"
)

Main = Callable[[Sequence[str] | None], int]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2; hide text after `://`, which may be a password."""
        shown = re.sub(r"://.*", "://...", message)
        self.exit(2, f"error: {shown} (see {self.prog} --help)\n")


class _Help(argparse.HelpFormatter):
    """A help formatter that shows a default only if there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_flag = action.default is False  # `is`, because the default 0 equals False and is shown
        is_silent = is_flag or action.default in (None, [], (), argparse.SUPPRESS)
        return action.help if is_silent else f"{action.help} (default: %(default)s)"


def make_parser(command: str, description: str) -> Parser:
    """Make the parser of a command."""
    return Parser(
        prog=f"python -m allocator.{command}",
        description=description,
        epilog=EXIT_STATUSES,
        formatter_class=_Help,
        allow_abbrev=False,  # otherwise `--trial 8` would be read as `--trials 8`
    )


def run_command(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run a command; print a user's mistake as one line on standard error and return status 2."""
    _escape_what_cannot_be_printed()
    try:
        return main(argv)
    except AllocatorError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def _escape_what_cannot_be_printed() -> None:
    """Print characters that the output's encoding lacks, as in a folder's name, as escapes."""
    # Standard error escapes by itself. Other settings, as by PYTHONIOENCODING, are the user's.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def parse_integer(text: str, *, minimum: int) -> int:
    """Parse an integer of `minimum` or more."""
    value = _parse_digits(text)
    if value is None or value < minimum:
        rule = "a positive integer" if minimum == 1 else f"an integer of {minimum} or more"
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return value


def parse_number(
    text: str,
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float = math.inf,
    maximum: float = math.inf,
) -> float:
    """Parse a finite number that is above `above` or at least `minimum`, and below `below`.

    It is at most `maximum`.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # NaN compares false, and infinity is not below infinity, so both are refused.
    is_low_enough = value < below and value <= maximum
    is_high_enough = (above is None or value > above) and (minimum is None or value >= minimum)
    if not (is_low_enough and is_high_enough):
        rule = "a positive number" if above == 0 else f"a number of {minimum:g} or more"
        rule += "" if below == math.inf else f" and below {below:g}"
        rule += "" if maximum == math.inf else f" of {maximum:g} or less"
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return value


def parse_choice(text: str, *, kind: str, choices: Sequence[str]) -> str:
    """Parse one of several names."""
    if text not in choices:
        raise argparse.ArgumentTypeError(describe_unknown(kind, text, choices))
    return text


def parse_budget(text: str) -> Budget:
    """Parse a budget: a number of parameters, or `lora:R` for as many as LoRA of rank R has."""
    value = _parse_digits(text.removeprefix("lora:"))
    if not value:
        raise argparse.ArgumentTypeError(
            "must be a positive integer, or lora:R for as many parameters as LoRA of rank R has, "
            f"got {text!r}"
        )
    return LoraBudget(value) if text.startswith("lora:") else value


def parse_budgets(text: str) -> tuple[Budget, ...]:
    """Parse one or several budgets, separated by commas."""
    return tuple(dict.fromkeys(map(parse_budget, text.split(","))))


def add_result_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a result, as `find_result_folder` takes it."""
    parser.add_argument(
        "--study",
        required=True,
        metavar="NAME",
        help="name of a study; or a folder, of a study or one that allocator train wrote",
    )


def add_budget_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses among the results of a study of several budgets."""
    parser.add_argument(
        "--budget",
        type=partial(parse_integer, minimum=1),
        metavar="N",
        help="of a study of several budgets, the one whose best allocation is used (default: the "
        "largest)",
    )


def parse_repository(text: str) -> str:
    """Parse the id of a repository on the Hugging Face hub."""
    rule = r"(?=.{1,96}$)(\w[\w.-]*/)?\w([\w.-]*\w)?"
    if not re.fullmatch(rule, text, re.ASCII) or re.search(r"--|\.\.|\.git$", text):
        raise argparse.ArgumentTypeError(
            "must be USER/NAME or NAME, of letters, digits, dots, dashes and underscores, without "
            f"'--', '..' and '.git' at the end, got {text!r}"
        )
    return text


def parse_folder(text: str) -> Path:
    """Parse the path of a folder that exists."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder that exists, got {text!r}")
    return Path(text)


def _parse_digits(text: str) -> int | None:
    """Parse a number that is written in digits alone; None if the text is anything else."""
    # `int` by itself would also accept signs, blanks, underscores and digits of other scripts.
    if not text.isascii() or not text.isdigit():
        return None
    if len(text) > len(str(LARGEST)) or int(text) > LARGEST:
        raise argparse.ArgumentTypeError(f"must be at most {LARGEST:,}, got {text!r}")
    return int(text)
