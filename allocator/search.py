"""`python -m allocator.search`: find the best adapter configuration within a parameter budget.

In Python the module is called itself: `allocator.search(budget=40_000, task="cola")`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from allocator.command_line.options import add_options, read_config
from allocator.command_line.parser import INTERRUPTED, make_parser, run_command
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.word_checks import check_words

if TYPE_CHECKING:
    from allocator.tuning.runs.search_result import SearchResult


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = make_parser("search", "Find the best adapter configuration within a parameter budget.")
    add_options(parser, SearchConfig)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="time a few training steps, print the space and the estimated time and memory, and "
        "exit",
    )
    group.add_argument(
        "--quiet",
        action="store_true",
        help="print only the path of best.yaml, and warnings",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Search, or with `--dry-run` print what a search would do."""
    arguments = build_parser().parse_args(argv)
    config = read_config(SearchConfig, arguments)
    check_words(config)  # before torch is imported, which takes seconds
    from rich.console import Console

    from allocator.progress.run_progress import IMPORTING, RunProgress

    with RunProgress(Console(quiet=arguments.quiet)) as progress:
        progress.begin(IMPORTING)
        from allocator.tuning.plan.search_plan import plan_search
        from allocator.tuning.runs.run_search import run_search
        from allocator.tuning.screen.header import print_banner

        plan = plan_search(config, progress.begin)
        if arguments.quiet:
            # On standard error, because standard output is to hold only the path.
            print_banner(Console(stderr=True), plan.data)
        if arguments.dry_run:
            from allocator.tuning.runs.dry_run import print_dry_run

            print_dry_run(progress, config, plan)
            return 0
        front = run_search(config, plan, progress)
    if front is None:
        return INTERRUPTED
    if arguments.quiet:
        print(front.best.path)
    return 0


class _CallableModule(ModuleType):
    """Lets `allocator.search` be called, though it is the module of the command too."""

    def __call__(self, *arguments: Any, **options: Any) -> SearchResult:
        """Search, as `allocator.tuning.runs.search_in_python.search` describes it."""
        from allocator.tuning.runs.search_in_python import search

        return search(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    sys.exit(run_command(main))
