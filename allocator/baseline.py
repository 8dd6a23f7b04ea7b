"""`python -m allocator.baseline`: train the uniform-rank baseline of a study, and measure it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from allocator.command_line.options import (
    add_space_options,
    add_study_options,
    add_task_options,
    add_training_options,
    run_options,
)
from allocator.command_line.parser import (
    add_data_options,
    make_parser,
    parse_positive_integer,
    run_command,
)
from allocator.config import BaselineConfig
from allocator.errors import AllocatorError, describe_unknown

KINDS = ("cp", "tt", "lora")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = make_parser(
        "baseline",
        "Train the allocation of uniform rank, lambda 1, and measure where it uses its ranks. A "
        "search of the same study takes it as its first trial.",
    )
    group = parser.add_argument_group("baseline")
    add_space_options(group)
    add_task_options(group)
    group.add_argument(
        "--also",
        default="",
        metavar="A,B",
        help=f"train these beside it, each of the largest rank in budget: {', '.join(KINDS)}",
    )
    group.add_argument(
        "--rank",
        type=parse_positive_integer,
        metavar="R",
        help="of every mode, whatever the budget, which then only names the study; in a folder of "
        "its own; each rank is capped at what its mode can use",
    )
    group.add_argument(
        "--uncapped", action="store_true", help="with --rank: do not cap, as in published baselines"
    )
    add_data_options(parser)
    add_training_options(parser)
    add_study_options(parser.add_argument_group("study"))
    return parser


def to_config(arguments: argparse.Namespace) -> BaselineConfig:
    """Turn parsed options into the configuration of a baseline.

    Raises:
        AllocatorError: If options do not go together, or name what is not known.
    """
    also = tuple(dict.fromkeys(name for name in arguments.also.split(",") if name))
    for name in also:
        if name not in KINDS:
            raise AllocatorError(describe_unknown("baseline", name, KINDS))
    if arguments.uncapped and arguments.rank is None:
        raise AllocatorError("--uncapped needs a --rank, such as --rank 8 --uncapped")
    return BaselineConfig(
        budget=arguments.budget,
        space=arguments.space,
        also=also,
        rank=arguments.rank,
        is_capped=not arguments.uncapped,
        **run_options(arguments),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train and measure what is asked."""
    config = to_config(build_parser().parse_args(argv))
    # Imported here, so that --help and mistakes in options do not wait for torch.
    from rich.console import Console

    from allocator.tuning.runs.run_baseline import run_baseline

    run_baseline(config, Console())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
