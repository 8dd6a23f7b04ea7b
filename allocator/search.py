"""`python -m allocator.search`: find the best adapter configuration within a parameter budget."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from allocator.command import (
    INTERRUPTED,
    add_data_options,
    budget,
    fallback_data_dir,
    make_parser,
    model_cache,
    positive_integer,
    positive_number,
    run,
)
from allocator.config import SearchConfig, TrainingConfig
from allocator.tuning.space_file import preset_names, read_space


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = make_parser("search", "Find the best adapter configuration within a parameter budget.")
    _add_search_options(parser)
    add_data_options(parser)
    _add_training_options(parser)
    _add_study_options(parser)
    return parser


def _add_search_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument(
        "--budget",
        type=budget,
        required=True,
        metavar="N",
        help="largest number of trainable adapter parameters, the task head not counted; or lora:R "
        "for as many as LoRA of rank R has",
    )
    group.add_argument(
        "--task",
        required=True,
        help="cola, sst2, mrpc, rte, wnli, qnli, qqp, mnli, stsb, cola-synthetic, or a task file "
        "of your own (.yaml)",
    )
    group.add_argument(
        "--model",
        default="minilm",
        help="minilm; mpnet-base or, for images, dinov2-small (after: allocator fetch NAME); a "
        "folder, or an id on the Hugging Face hub",
    )
    group.add_argument(
        "--space",
        default="tenslora_plus",
        help=f"a preset ({', '.join(preset_names())}), or a search-space file (.yaml)",
    )
    group.add_argument(
        "--targets",
        metavar="A,B",
        help="adapted projections, in place of the space's own: of query, key, value, output, or "
        "ends of linear layers' names",
    )
    group.add_argument(
        "--trials",
        type=positive_integer,
        default=16,
        metavar="N",
        help="trials of the study in all",
    )
    group.add_argument(
        "--timeout", type=positive_integer, metavar="S", help="start no trial after S seconds"
    )
    group.add_argument(
        "--slots",
        type=_slots,
        default="auto",
        metavar="N",
        help="trials that one device trains together; auto measures what is fastest, once a study",
    )
    group.add_argument("--sampler", default="gp", help="gp, tpe or random; all stay in budget")
    group.add_argument("--pruner", default="halving", help="halving, median or none")
    group.add_argument(
        "--prior",
        default="truncation",
        metavar="NAME",
        help="what is tried first and favoured: none, uniform, entropy, tenslora_plus, gradient or "
        "truncation, from what the baseline shows; or study:NAME for what a study found best",
    )
    group.add_argument(
        "--prior-strength",
        type=positive_number,
        default=10.0,
        metavar="X",
        help="how much the gp sampler favours what the prior expects; it fades as trials finish",
    )
    group.add_argument(
        "--start",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a recipe such as best.yaml, tried right after the baseline; may be repeated",
    )
    group.add_argument(
        "--select-on",
        choices=("held_out", "dev"),
        default="held_out",
        help="what trials are scored on; dev reproduces published protocols and marks the study",
    )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=positive_integer, default=3, metavar="N", help="per trial")
    group.add_argument(
        "--batch-size", type=positive_integer, default=32, metavar="N", help="examples a step"
    )
    group.add_argument("--seed", type=_seed, default=0, metavar="N", help="one seed, one study")
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="of frozen weights; auto times both on the device",
    )
    group.add_argument(
        "--devices",
        metavar="A,B",
        help="one worker each, such as cuda:0,cuda:1 or cpu; by default every visible GPU, or cpu",
    )


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("study")
    group.add_argument(
        "--study", metavar="NAME", help="name; by default made of task, model and budget"
    )
    group.add_argument(
        "--studies-dir", type=Path, default=Path("studies"), metavar="FOLDER", help="of all studies"
    )
    group.add_argument(
        "--storage", metavar="URL", help="Optuna storage, in place of a file in the study's folder"
    )
    group.add_argument(
        "--dry-run", action="store_true", help="print what would run and cost, and stop"
    )
    group.add_argument("--quiet", action="store_true", help="print the path of best.yaml alone")


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be an integer of 0 or more, got {text!r}")
    return int(text)


def _slots(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return positive_integer(text)
    except argparse.ArgumentTypeError as mistake:
        raise argparse.ArgumentTypeError(f"{mistake}; or auto") from None


def to_config(arguments: argparse.Namespace) -> SearchConfig:
    """Turn parsed options into the configuration of a search."""
    devices: str | None = arguments.devices
    return SearchConfig(
        budget=arguments.budget,
        task=arguments.task,
        model=arguments.model,
        space=arguments.space,
        targets=tuple(arguments.targets.split(",")) if arguments.targets else None,
        trials=arguments.trials,
        slots=arguments.slots,
        timeout=arguments.timeout,
        training=TrainingConfig(
            epochs=arguments.epochs, batch_size=arguments.batch_size, seed=arguments.seed
        ),
        study=arguments.study,
        studies_dir=arguments.studies_dir,
        storage=arguments.storage,
        data_dir=arguments.data_dir,
        fallback_data_dir=fallback_data_dir(),
        data_source=arguments.data_source,
        select_on=arguments.select_on,
        precision=None if arguments.precision == "auto" else arguments.precision,
        sampler=arguments.sampler,
        pruner=arguments.pruner,
        prior=arguments.prior,
        prior_strength=arguments.prior_strength,
        start=tuple(arguments.start),
        devices=tuple(devices.split(",")) if devices else None,
        model_cache=model_cache(),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Search, or with `--dry-run` say what would be searched."""
    arguments = build_parser().parse_args(argv)
    config = to_config(arguments)
    read_space(config.space)  # a mistake in it need not wait for torch
    # Imported here, so that --help and mistakes in options do not wait for torch.
    from rich.console import Console  # noqa: PLC0415

    from allocator.tuning.display import print_header  # noqa: PLC0415
    from allocator.tuning.dry_run import print_dry_run  # noqa: PLC0415
    from allocator.tuning.prepare import prepare  # noqa: PLC0415
    from allocator.tuning.run import run_search  # noqa: PLC0415

    console = Console(quiet=arguments.quiet)
    prepared = prepare(config)
    if arguments.dry_run:
        print_header(console, prepared)
        print_dry_run(console, prepared, trials=config.trials, slots=config.slots)
        return 0
    exported = run_search(
        prepared, console, trials=config.trials, slots=config.slots, timeout=config.timeout
    )
    if exported is None:
        return INTERRUPTED
    if arguments.quiet:
        print(exported.path)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
