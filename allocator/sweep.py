"""`python -m allocator.sweep`: train a published study's allocations, with several seeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from allocator.command_line.options import (
    add_study_options,
    add_task_options,
    add_training_options,
    run_options,
)
from allocator.command_line.parser import (
    INTERRUPTED,
    add_data_options,
    make_parser,
    parse_positive_integer,
    parse_positive_number,
    run_command,
)
from allocator.config import SweepConfig
from allocator.errors import AllocatorError, describe_unknown

SWEEPS = ("tenslora-plus",)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = make_parser(
        "sweep",
        "Train the allocations of a published study, packed, with several seeds, and write one "
        "table and one plot. Run again, it goes on where it was stopped.",
    )
    group = parser.add_argument_group("sweep")
    group.add_argument("sweep", metavar="NAME", help=", ".join(SWEEPS))
    add_task_options(group)
    group.add_argument(
        "--seeds",
        type=parse_positive_integer,
        default=5,
        metavar="N",
        help="trainings of each allocation, with the seeds from --seed on",
    )
    group.add_argument(
        "--learning-rate",
        type=parse_positive_number,
        default=1e-3,
        metavar="X",
        help="base learning rate of all allocations",
    )
    add_data_options(parser)
    add_training_options(parser)
    add_study_options(parser.add_argument_group("study"))
    return parser


def to_config(arguments: argparse.Namespace) -> SweepConfig:
    """Turn parsed options into the configuration of a sweep.

    Raises:
        AllocatorError: If there is no sweep of that name.
    """
    if arguments.sweep not in SWEEPS:
        raise AllocatorError(describe_unknown("sweep", arguments.sweep, SWEEPS))
    return SweepConfig(
        sweep=arguments.sweep,
        seeds=arguments.seeds,
        learning_rate=arguments.learning_rate,
        **run_options(arguments),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train a published study."""
    config = to_config(build_parser().parse_args(argv))
    # Imported here, so that --help and mistakes in options do not wait for torch.
    from rich.console import Console

    from allocator.tuning.runs.run_sweep import run_sweep

    return 0 if run_sweep(config, Console()) else INTERRUPTED


if __name__ == "__main__":
    sys.exit(run_command(main))
