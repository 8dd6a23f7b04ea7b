"""The command of a search, written from its configuration."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from allocator.command_line.options import read_config
from allocator.search import build_parser
from allocator.tuning.plan.asked_command import write_search_command
from allocator.tuning.plan.search_config import SearchConfig


@pytest.mark.parametrize(
    "words",
    [
        "--budget 40000 --task cola",
        "--budget 5000,lora:8 --task cola --trials 12 --rivals none --epochs 2",
        "--budget 40000 --task 'my task.yaml' --targets query,value --start a.yaml --start b.yaml",
        "--budget 40000 --task cola --rivals lora:8,cp --space constructions --prior study:other",
    ],
)
def test_the_written_command_asks_for_the_same(words: str) -> None:
    parser = build_parser()
    config = read_config(SearchConfig, parser.parse_args(shlex.split(words)))
    written = write_search_command(config)
    assert written.startswith("python -m allocator.search --")
    again = read_config(SearchConfig, parser.parse_args(shlex.split(written)[3:]))
    assert again == config


def test_what_is_a_default_is_left_out(tmp_path: Path) -> None:
    words = ["--budget", "40000", "--task", "cola", "--studies-dir", str(tmp_path)]
    config = read_config(SearchConfig, build_parser().parse_args(words))
    assert sorted(shlex.split(write_search_command(config))[3:]) == sorted(words)


def test_a_password_is_left_out() -> None:
    words = "--budget 40000 --task cola --storage postgresql://me:s3cr3t@host/db"
    config = read_config(SearchConfig, build_parser().parse_args(words.split()))
    assert "--storage postgresql://me@host/db" in write_search_command(config)
