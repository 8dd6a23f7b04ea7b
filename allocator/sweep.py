"""`python -m allocator.sweep`: train the allocations of a published comparison."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from allocator.command_line.options import add_options, read_config
from allocator.command_line.parser import INTERRUPTED, make_parser, run_command
from allocator.tuning.plan.run_config import SweepConfig
from allocator.tuning.plan.word_checks import check_words


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = make_parser(
        "sweep",
        "Train the allocations of a published comparison with several seeds, and write one table "
        "and one plot. Run it again to resume where it stopped.",
    )
    add_options(parser, SweepConfig)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train a published comparison."""
    config = read_config(SweepConfig, build_parser().parse_args(argv))
    check_words(config)  # before torch is imported, which takes seconds
    from rich.console import Console

    from allocator.progress.run_progress import IMPORTING, RunProgress

    with RunProgress(Console()) as progress:
        progress.begin(IMPORTING)
        from allocator.tuning.runs.run_sweep import run_sweep

        return 0 if run_sweep(config, progress) else INTERRUPTED


if __name__ == "__main__":
    sys.exit(run_command(main))
