"""`python -m allocator.train`: train an allocation on all of train and score it on dev."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from allocator.command_line.parser import (
    add_data_options,
    fallback_data_dir,
    make_parser,
    parse_non_negative_integer,
    run_command,
)
from allocator.config import model_cache


def main(argv: Sequence[str] | None = None) -> int:
    """Train what a recipe describes."""
    parser = make_parser("train", "Train an allocation on all of train and score it on dev.")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="best.yaml of a study"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="of result.yaml and the adapter (default: trained/ beside FILE)",
    )
    parser.add_argument(
        "--seed", type=parse_non_negative_integer, metavar="N", help="in place of the recipe's own"
    )
    add_data_options(parser)
    arguments = parser.parse_args(argv)
    from allocator.files.recipe import read_recipe
    from allocator.workers.train_recipe import train_recipe

    recipe = read_recipe(arguments.config)
    if arguments.seed is not None:
        training = recipe.training.model_copy(update={"seed": arguments.seed})
        recipe = recipe.model_copy(update={"training": training})
    train_recipe(
        recipe,
        output=arguments.output or arguments.config.parent / "trained",
        data_source=arguments.data_source,
        data_dir=arguments.data_dir,
        fallback_dir=fallback_data_dir(),
        model_cache=model_cache(),
        say=print,
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
