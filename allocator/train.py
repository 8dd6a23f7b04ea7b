"""`python -m allocator.train`: train an allocation on all of train and score it on dev."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from allocator.command_line.options import add_options
from allocator.command_line.parser import make_parser, parse_integer, run_command
from allocator.config import default_model_cache, fallback_data_dir
from allocator.files.study_folder import TRAINED_FOLDER
from allocator.tuning.plan.run_config import RunConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Train a recipe's allocation."""
    parser = make_parser("train", "Train an allocation on all of train and score it on dev.")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="best.yaml of a study"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help=f"folder for result.yaml and the adapter (default: {TRAINED_FOLDER}/ beside FILE)",
    )
    parser.add_argument(
        "--seed",
        type=partial(parse_integer, minimum=0),
        metavar="N",
        help="seed, in place of the recipe's own",
    )
    add_options(parser, RunConfig, ["data_dir", "data_source"])
    arguments = parser.parse_args(argv)
    # Only now that the options are right: these import torch, which takes seconds.
    from rich.console import Console

    from allocator.files.recipe import read_recipe
    from allocator.progress.run_progress import IMPORTING, RunProgress

    recipe = read_recipe(arguments.config)
    if arguments.seed is not None:
        # `model_copy` does not validate, but the parser has checked the seed.
        training = recipe.training.model_copy(update={"seed": arguments.seed})
        recipe = recipe.model_copy(update={"training": training})
    with RunProgress(Console()) as progress:
        progress.begin(IMPORTING)
        from allocator.workers.train_recipe import train_recipe

        train_recipe(
            recipe,
            output=arguments.output or arguments.config.parent / TRAINED_FOLDER,
            data_source=arguments.data_source,
            data_dir=arguments.data_dir,
            fallback_dir=fallback_data_dir(),
            model_cache=default_model_cache(),
            progress=progress,
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
