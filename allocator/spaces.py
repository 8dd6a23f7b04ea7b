"""`python -m allocator.spaces`: list search spaces, and how many allocations fit a budget."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from allocator.command_line.parser import make_parser, parse_budget, run_command
from allocator.config import default_model_cache
from allocator.tuning.space.space_file import list_preset_names, read_space


def main(argv: Sequence[str] | None = None) -> int:
    """List the named spaces, or all presets."""
    parser = make_parser(
        "spaces", "List search spaces, and how many of their allocations fit a model and a budget."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a preset or a .yaml file; all presets by default"
    )
    parser.add_argument(
        "--model", default="minilm", help="a packaged model, a folder, or an id on the hub"
    )
    parser.add_argument(
        "--budget",
        type=parse_budget,
        default=40_000,
        metavar="N",
        help="adapter parameters, or lora:R for as many as LoRA of rank R has",
    )
    arguments = parser.parse_args(argv)
    spaces = {name: read_space(name) for name in arguments.names or list_preset_names()}
    from rich.console import Console

    from allocator.models.model_source import locate_model
    from allocator.tuning.screen.spaces_table import print_spaces

    model = locate_model(arguments.model, default_model_cache())
    print_spaces(Console(), spaces, model, arguments.budget)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
