"""`python -m allocator.baseline`: train the uniform-rank baseline of a study, and measure it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from allocator.command_line.options import add_options, read_config
from allocator.command_line.parser import make_parser, run_command
from allocator.tuning.plan.run_config import BaselineConfig
from allocator.tuning.plan.word_checks import check_words


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = make_parser(
        "baseline",
        "Train the allocation of uniform rank and lambda 1, and measure which ranks it uses. A "
        "search of the same study uses it as its first trial.",
    )
    add_options(parser, BaselineConfig)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train and measure the baseline."""
    config = read_config(BaselineConfig, build_parser().parse_args(argv))
    check_words(config)  # before torch is imported, which takes seconds
    from rich.console import Console

    from allocator.progress.run_progress import IMPORTING, RunProgress

    with RunProgress(Console()) as progress:
        progress.begin(IMPORTING)
        from allocator.tuning.runs.run_baseline import run_baseline

        run_baseline(config, progress)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
