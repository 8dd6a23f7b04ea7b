"""The parser of every command: values checked as they are read, errors of one line."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from allocator.command_line.parser import (
    LARGEST,
    parse_budget,
    parse_choice,
    parse_folder,
    parse_integer,
    parse_number,
    run_command,
)
from allocator.config import LoraBudget
from tests.command_line.mistakes import read_mistake

SEARCH = ["search", "--task", "cola"]


@pytest.mark.parametrize(
    "budget",
    ["0", "-5", "many", "1e4", "inf", "40.000", "lora:", "lora:0", "lora:-1", "lora:x", "foo:3"],
)
def test_a_budget_must_be_a_positive_integer_or_the_rank_of_a_lora(
    budget: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = read_mistake(capsys, [*SEARCH, f"--budget={budget}"])
    rule = "must be a positive integer, or lora:R for as many parameters as LoRA of rank R has"
    assert f"argument --budget: {rule}, got '{budget}'" in line


def test_a_budget_is_a_number_of_parameters_or_the_rank_of_a_lora() -> None:
    assert parse_budget("40000") == 40_000
    assert parse_budget("lora:8") == LoraBudget(8)


@pytest.mark.parametrize(
    ("minimum", "text", "rule"),
    [
        (1, "0", "must be a positive integer, got '0'"),
        (0, "-1", "must be an integer of 0 or more, got '-1'"),
        (4, "3", "must be an integer of 4 or more, got '3'"),
        (1, "1.5", "must be a positive integer, got '1.5'"),
        (1, "\u0663", "must be a positive integer, got '\u0663'"),  # a digit, but not of ASCII
        (0, str(LARGEST + 1), "must be at most 2,147,483,647, got '2147483648'"),
    ],
)
def test_an_integer_must_be_digits_within_its_bounds(minimum: int, text: str, rule: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{re.escape(rule)}$"):
        parse_integer(text, minimum=minimum)
    assert parse_integer(str(minimum), minimum=minimum) == minimum


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e400", "much", ""])
def test_a_positive_number_must_be_finite_and_above_zero(text: str) -> None:
    rule = f"must be a positive number, got {text!r}"
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{re.escape(rule)}$"):
        parse_number(text, above=0)
    assert parse_number("1e-3", above=0) == 1e-3


@pytest.mark.parametrize("text", ["-0.1", "1", "1.5", "nan", "-inf"])
def test_a_fraction_must_be_zero_or_more_and_below_one(text: str) -> None:
    rule = f"must be a number of 0 or more and below 1, got {text!r}"
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{re.escape(rule)}$"):
        parse_number(text, minimum=0, below=1)
    assert parse_number("0", minimum=0, below=1) == 0


@pytest.mark.parametrize("text", ["0", "0.51", "1", "nan", "inf"])
def test_a_part_must_be_above_zero_and_at_most_its_maximum(text: str) -> None:
    rule = f"must be a positive number of 0.5 or less, got {text!r}"
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{re.escape(rule)}$"):
        parse_number(text, above=0, maximum=0.5)
    assert parse_number("0.5", above=0, maximum=0.5) == 0.5


def test_a_choice_is_one_of_its_names() -> None:
    assert parse_choice("gp", kind="sampler", choices=("gp", "tpe")) == "gp"
    rule = "unknown sampler 'gb': did you mean 'gp'? known are gp, tpe"
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{re.escape(rule)}$"):
        parse_choice("gb", kind="sampler", choices=("gp", "tpe"))


def test_a_folder_must_exist(tmp_path: Path) -> None:
    assert parse_folder(str(tmp_path)) == tmp_path
    with pytest.raises(argparse.ArgumentTypeError, match=r"^must be a folder that exists, got "):
        parse_folder(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "arguments",
    [
        [*SEARCH, "--budget", "600", "--trial", "8"],
        ["baseline", "--task", "cola", "--budget", "600", "--epoch", "1"],
        ["train", "--conf", "best.yaml"],
    ],
)
def test_a_shortened_option_is_refused_not_guessed(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = read_mistake(capsys, arguments)
    assert "unrecognized arguments: --" in line or "arguments are required: --config" in line


@pytest.mark.parametrize("command", ["train", "baseline", "predict"])
def test_a_command_that_has_no_storage_does_not_print_its_password(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {
        "train": ["--config", "a"],
        "baseline": ["--task", "cola", "--budget", "1"],
        "predict": ["--study", "a"],
    }
    given = [command, *options[command], "--storage=postgresql://me:s3cr3t@host/db"]
    line = read_mistake(capsys, given)
    assert "s3cr3t" not in line
    assert "--storage=postgresql://... (see " in line


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_name_that_the_output_cannot_hold_is_escaped(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(_: Sequence[str] | None) -> int:
        print("studies/猫/best.yaml")
        Console().print("studies/猫/best.yaml ± 0.1")
        return 0

    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
    assert run_command(main) == 0
    sys.stdout.flush()
    assert written.getvalue().count(b"studies/\\u732b/best.yaml") == 2
