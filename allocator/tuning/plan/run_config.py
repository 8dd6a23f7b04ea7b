"""Options of the commands that train; those of a search alone are in `search_config`.

There is one class for each command, and one field for each option.

A field states its type, its bounds, its default and its help once; `command_line.options` makes
the command's options from it. Fields without an `Option` come from the environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Self

from pydantic import DirectoryPath, Field, field_validator, model_validator

from allocator.config import (
    LORA_BUDGET,
    Budget,
    Config,
    DataSource,
    LoraBudget,
    Option,
    Precision,
    SelectOn,
    TrainingConfig,
)
from allocator.errors import AllocatorError, LoggerError, StudyError
from allocator.files.study_folder import STUDIES_FOLDER
from allocator.tuning.names import (
    KindName,
    LoggerName,
    SweepName,
)


class RunConfig(Config):
    """The options of every command that trains; None if a default depends on other options."""

    task: Annotated[
        str,
        Option(
            "task",
            "cola, sst2, mrpc, rte, wnli, qnli, qqp, mnli, stsb, cola-synthetic, or a task file "
            "of your own (.yaml)",
            metavar="TASK",
        ),
    ]
    model: Annotated[
        str,
        Option(
            "task",
            "minilm; mpnet-base or, for images, dinov2-small (first: allocator fetch NAME); a "
            "folder, or an id on the Hugging Face hub",
            metavar="MODEL",
        ),
    ] = "minilm"
    targets: Annotated[
        tuple[str, ...] | None,
        Option(
            "task",
            "projections to adapt, in place of the space's own: query, key, value, output, or "
            "endings of linear layers' names",
            metavar="A,B",
        ),
    ] = None
    select_on: Annotated[
        SelectOn,
        Option(
            "task",
            "examples that trials are scored on; dev reproduces published protocols and marks the "
            "study's scores as optimistic",
            noun="split",
        ),
    ] = "held_out"
    data_dir: Annotated[
        DirectoryPath | None,
        Option(
            "data",
            "folder in GLUE's layout that has the task; $ALLOCATOR_DATA_DIR names one that may "
            "have it",
            metavar="FOLDER",
        ),
    ] = None
    data_source: Annotated[
        DataSource,
        Option(
            "data",
            "where the data come from; auto tries the folders, then the Hugging Face hub, then "
            "(cola) the bundled corpus",
        ),
    ] = "auto"
    limit: Annotated[
        int | None,
        Field(ge=1),
        Option("data", "for a quick look: train and score on at most N examples each"),
    ] = None
    training: TrainingConfig
    slots: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "devices",
            "trials that one device trains together; auto measures the fastest number once per "
            "study",
            has_auto=True,
        ),
    ] = None
    precision: Annotated[
        Precision | None,
        Option(
            "devices",
            "number format of the frozen weights; auto times both on the device",
            has_auto=True,
        ),
    ] = None
    devices: Annotated[
        tuple[str, ...] | None,
        Option(
            "devices",
            "devices that get a worker each, such as cuda:0,cuda:1 or cpu; by default every "
            "visible GPU, or the CPU",
            metavar="A,B",
        ),
    ] = None
    ray: Annotated[
        str | None,
        Option(
            "devices",
            "train on all GPUs of a Ray cluster, or on its CPUs if it has no GPU: auto for "
            "the cluster of this machine, local to start one on it, or an address as for ray.init",
            metavar="ADDRESS",
        ),
    ] = None
    study: Annotated[
        str | None,
        Option("study", "name of the study; by default its task, model and budget", metavar="NAME"),
    ] = None
    studies_dir: Annotated[
        Path, Option("study", "folder that holds a folder for each study", metavar="FOLDER")
    ] = STUDIES_FOLDER
    log: Annotated[
        tuple[LoggerName, ...],
        Option(
            "study",
            "also log each training's curve and the final table to tensorboard (in the study's "
            "folder), wandb or mlflow, as their own environment variables say",
            metavar="A,B",
            noun="logger",
        ),
    ] = ()
    # From $ALLOCATOR_DATA_DIR, which may have the task; `data_dir` must have it.
    fallback_data_dir: Path | None = None
    model_cache: Path

    @field_validator("study")
    @classmethod
    def _require_folder_name(cls, study: str | None) -> str | None:
        # It becomes a folder of `studies_dir`: no separators, and no dot in front.
        if study is not None and not re.fullmatch(r"[\w][\w.-]*", study):
            raise StudyError(
                f"study must be a plain name of letters, digits, dots, dashes, got {study!r}"
            )
        return study

    @field_validator("log")
    @classmethod
    def _require_packages(cls, log: tuple[LoggerName, ...]) -> tuple[LoggerName, ...]:
        for name in log:
            # Looked up without being imported, which takes seconds. A folder of that name in the
            # current folder, where wandb keeps its files, is found too, but has no file of its own.
            found = find_spec(name)
            if found is None or found.origin is None:
                raise LoggerError(
                    f"--log {name} needs the package {name}; run: pip install 'allocator[{name}]'"
                )
        return log


def _read_lora_budget(budget: object) -> object:
    """Read `lora:R`; what else it may be is checked with the field."""
    rank = budget.removeprefix(LORA_BUDGET) if isinstance(budget, str) else ""
    return LoraBudget(int(rank)) if rank != budget and rank.isdecimal() else budget


class SpaceConfig(RunConfig):
    """The options of a command that works on a search space within a budget."""

    budget: Annotated[
        tuple[Budget, ...],
        Option(
            "search",
            "largest number of trainable adapter parameters, not counting the task head; or lora:R "
            "for as many as LoRA of rank R has; a search takes several (10000,20000), for the best "
            "allocation within each",
            metavar="N",
        ),
    ]
    space: Annotated[
        str,
        Option(
            "search",
            "search space: a preset that `python -m allocator.spaces` lists, or a file (.yaml)",
            metavar="SPACE",
        ),
    ] = "tenslora_plus"

    @field_validator("budget", mode="before")
    @classmethod
    def _allow_one(cls, budget: object) -> object:
        budgets = (budget,) if isinstance(budget, int | str | LoraBudget) else budget
        return tuple(map(_read_lora_budget, budgets)) if isinstance(budgets, Iterable) else budgets


class BaselineConfig(SpaceConfig):
    """The options of the command `baseline`."""

    also: Annotated[
        tuple[KindName, ...],
        Option(
            "search",
            "other kinds of adapters to train beside the baseline, each with the largest rank "
            "within the budget: lora, cp, tt, tucker",
            metavar="A,B",
            noun="kind of adapter",
        ),
    ] = ()
    rank: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "search",
            "rank of every mode, capped at what the mode can use; the budget then only names the "
            "study, and the result goes to a folder of its own",
            metavar="R",
        ),
    ] = None
    uncapped: Annotated[
        bool,
        Option("search", "with --rank: do not cap the rank of any mode, as in published baselines"),
    ] = False

    @model_validator(mode="after")
    def _require_one_budget(self) -> Self:
        if len(self.budget) > 1:
            raise AllocatorError("a baseline takes one --budget; a search takes several")
        return self

    @model_validator(mode="after")
    def _require_rank(self) -> Self:
        if self.uncapped and self.rank is None:
            raise AllocatorError("--uncapped needs a --rank, such as --rank 8 --uncapped")
        return self


class SweepConfig(RunConfig):
    """The options of the command `sweep`."""

    sweep: Annotated[
        SweepName,
        Option("sweep", "published comparison to train: tenslora-plus", "NAME", is_positional=True),
    ]
    seeds: Annotated[
        int,
        Field(ge=1),
        Option("sweep", "trainings of each allocation, with the seeds from --seed on"),
    ] = 5
    learning_rate: Annotated[
        float, Field(gt=0), Option("sweep", "base learning rate of all allocations")
    ] = 1e-3
