"""Options that commands which train share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypedDict

from allocator.command_line.parser import (
    fallback_data_dir,
    parse_budget,
    parse_non_negative_integer,
    parse_positive_integer,
    parse_positive_number,
)
from allocator.config import DataSource, Precision, SelectOn, TrainingConfig, model_cache
from allocator.tuning.space.space_file import preset_names


class RunOptions(TypedDict):
    """What `RunConfig` is made of."""

    task: str
    model: str
    targets: tuple[str, ...] | None
    slots: int | None
    training: TrainingConfig
    study: str | None
    studies_dir: Path
    data_dir: Path | None
    fallback_data_dir: Path | None
    data_source: DataSource
    select_on: SelectOn
    precision: Precision | None
    devices: tuple[str, ...] | None
    ray: str | None
    model_cache: Path


def add_space_options(group: argparse._ArgumentGroup) -> None:
    """Add what is searched."""
    group.add_argument(
        "--budget",
        type=parse_budget,
        required=True,
        metavar="N",
        help="largest number of trainable adapter parameters, the task head not counted; or lora:R "
        "for as many as LoRA of rank R has",
    )
    group.add_argument(
        "--space",
        default="tenslora_plus",
        help=f"a preset ({', '.join(preset_names())}), or a search-space file (.yaml)",
    )


def add_task_options(group: argparse._ArgumentGroup) -> None:
    """Add what is trained on what."""
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
        "--targets",
        metavar="A,B",
        help="adapted projections, in place of the space's own: of query, key, value, output, or "
        "ends of linear layers' names",
    )
    group.add_argument(
        "--select-on",
        choices=("held_out", "dev"),
        default="held_out",
        help="what trials are scored on; dev reproduces published protocols and marks the study",
    )


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add how trials are trained."""
    group = parser.add_argument_group("training")
    group.add_argument(
        "--epochs", type=parse_positive_integer, default=3, metavar="N", help="per trial"
    )
    group.add_argument(
        "--batch-size", type=parse_positive_integer, default=32, metavar="N", help="examples a step"
    )
    group.add_argument(
        "--head-learning-rate",
        type=parse_positive_number,
        default=1e-3,
        metavar="X",
        help="learning rate of the task head",
    )
    group.add_argument(
        "--seed",
        type=parse_non_negative_integer,
        default=0,
        metavar="N",
        help="of the held-out split, initialisation, the order of the data, and the sampler",
    )
    group.add_argument(
        "--slots",
        type=_slots,
        default="auto",
        metavar="N",
        help="trials that one device trains together; auto measures what is fastest, once a study",
    )
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
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="train on all GPUs of a Ray cluster, or on its processors where it has none: auto for "
        "the cluster of this machine, local to start one on it, or as for ray.init",
    )


def add_study_options(group: argparse._ArgumentGroup) -> None:
    """Add where results go."""
    group.add_argument(
        "--study", metavar="NAME", help="name; by default made of task, model and budget"
    )
    group.add_argument(
        "--studies-dir", type=Path, default=Path("studies"), metavar="FOLDER", help="of all studies"
    )


def run_options(arguments: argparse.Namespace) -> RunOptions:
    """Turn parsed options into what `RunConfig` is made of."""
    devices: str | None = arguments.devices
    return RunOptions(
        task=arguments.task,
        model=arguments.model,
        targets=tuple(arguments.targets.split(",")) if arguments.targets else None,
        slots=arguments.slots,
        training=TrainingConfig(
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            head_learning_rate=arguments.head_learning_rate,
            seed=arguments.seed,
        ),
        study=arguments.study,
        studies_dir=arguments.studies_dir,
        data_dir=arguments.data_dir,
        fallback_data_dir=fallback_data_dir(),
        data_source=arguments.data_source,
        select_on=arguments.select_on,
        precision=None if arguments.precision == "auto" else arguments.precision,
        devices=tuple(devices.split(",")) if devices else None,
        ray=arguments.ray,
        model_cache=model_cache(),
    )


def _slots(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return parse_positive_integer(text)
    except argparse.ArgumentTypeError as mistake:
        raise argparse.ArgumentTypeError(f"{mistake}; or auto") from None
