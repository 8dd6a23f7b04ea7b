"""`python -m allocator.search`: find the best adapter configuration within a parameter budget."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from allocator.command_line.options import (
    add_space_options,
    add_study_options,
    add_task_options,
    add_training_options,
    run_options,
)
from allocator.command_line.parser import (
    INTERRUPTED,
    add_data_options,
    make_parser,
    parse_non_negative_integer,
    parse_positive_integer,
    parse_positive_number,
    run_command,
)
from allocator.config import SearchConfig
from allocator.tuning.space.space_file import read_space


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = make_parser("search", "Find the best adapter configuration within a parameter budget.")
    group = parser.add_argument_group("search")
    add_space_options(group)
    add_task_options(group)
    _add_search_options(group)
    add_data_options(parser)
    add_training_options(parser)
    group = parser.add_argument_group("study")
    add_study_options(group)
    _add_output_options(group)
    return parser


def _add_search_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--trials",
        type=parse_positive_integer,
        default=16,
        metavar="N",
        help="finished trials that the study is to have in all: the baseline, pruned trials and "
        "those of earlier runs count",
    )
    group.add_argument(
        "--timeout", type=parse_positive_integer, metavar="S", help="start no trial after S seconds"
    )
    group.add_argument(
        "--confirm-seeds",
        type=parse_non_negative_integer,
        default=3,
        metavar="N",
        help="seeds that the best allocations and the baseline are trained again with, to choose "
        "among them; 0 chooses by what the search expects",
    )
    group.add_argument("--sampler", default="gp", help="gp, tpe or random; all stay in budget")
    group.add_argument("--pruner", default="halving", help="halving, median or none")
    group.add_argument(
        "--prior",
        default="gradient",
        metavar="NAME",
        help="what is tried first and favoured: none, uniform, entropy, tenslora_plus, gradient or "
        "truncation, from what the baseline shows; or study:NAME for what a study found best",
    )
    group.add_argument(
        "--prior-strength",
        type=parse_positive_number,
        default=3.0,
        metavar="X",
        help="power of the prior's density in the gp sampler's acquisition before any trial is "
        "seen; it is divided by one more than the allocations seen",
    )
    group.add_argument(
        "--start",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a recipe such as best.yaml, tried right after the baseline; may be repeated",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--storage", metavar="URL", help="Optuna storage, in place of a file in the study's folder"
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="time a few training steps, print the space, the time and the memory, and stop",
    )
    group.add_argument(
        "--quiet",
        action="store_true",
        help="print the path of best.yaml, and nothing else but warnings",
    )


def to_config(arguments: argparse.Namespace) -> SearchConfig:
    """Turn parsed options into the configuration of a search."""
    return SearchConfig(
        budget=arguments.budget,
        space=arguments.space,
        trials=arguments.trials,
        confirm_seeds=arguments.confirm_seeds,
        timeout=arguments.timeout,
        storage=arguments.storage,
        sampler=arguments.sampler,
        pruner=arguments.pruner,
        prior=arguments.prior,
        prior_strength=arguments.prior_strength,
        start=tuple(arguments.start),
        **run_options(arguments),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Search, or with `--dry-run` say what would be searched."""
    arguments = build_parser().parse_args(argv)
    config = to_config(arguments)
    read_space(config.space)  # a mistake in it need not wait for torch
    # Imported here, so that --help and mistakes in options do not wait for torch.
    from rich.console import Console

    from allocator.tuning.plan.prepare import prepare
    from allocator.tuning.runs.dry_run import print_dry_run
    from allocator.tuning.runs.run_search import run_search
    from allocator.tuning.screen.header import print_banner, print_header

    console = Console(quiet=arguments.quiet)
    prepared = prepare(config)
    if arguments.quiet:
        print_banner(Console(stderr=True), prepared.data)
    if arguments.dry_run:
        print_header(console, prepared)
        print_dry_run(
            console,
            prepared,
            trials=config.trials,
            confirm_seeds=config.confirm_seeds,
            slots=config.slots,
        )
        return 0
    exported = run_search(
        prepared,
        console,
        trials=config.trials,
        confirm_seeds=config.confirm_seeds,
        slots=config.slots,
        timeout=config.timeout,
    )
    if exported is None:
        return INTERRUPTED
    if arguments.quiet:
        print(exported.path)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
