"""Configuration that several rooms share: how an adapter is built and how it is trained."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Initialization = Literal["orthogonal", "normal", "kaiming_uniform"]
Precision = Literal["float32", "bfloat16"]
DataSource = Literal["auto", "dir", "hub", "bundled"]
SelectOn = Literal["held_out", "dev"]


@dataclass(frozen=True, slots=True)
class LoraBudget:
    """As many parameters as LoRA of this rank would have on the same sites."""

    rank: int


Budget = int | LoraBudget
"""Largest number of trainable adapter parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """What an adapter needs besides its shape and ranks.

    Attributes:
        scaling: Factor of the whole update.
        initialization: Distribution of the factors that do not start at zero.
    """

    scaling: float = 4.0
    initialization: Initialization = "orthogonal"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """The recipe that all trials of a study share.

    Attributes:
        epochs: Passes over the training part.
        batch_size: Examples a step.
        boundaries_per_epoch: Evaluations an epoch, the last one at its end.
        head_learning_rate: Learning rate of the task head.
        weight_decay: AdamW's decoupled decay, on every trained parameter.
        max_grad_norm: Gradient norm that a trial is clipped to.
        warmup: Share of all steps in which learning rates rise linearly, before a cosine to zero.
        dropout: Dropout on the input of every adapter, while training.
        max_length: Tokens after which a text is cut; images ignore it.
        seed: Seed of initialisation and of the order of the data.
    """

    epochs: int
    batch_size: int = 32
    boundaries_per_epoch: int = 1
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    warmup: float = 0.1
    dropout: float = 0.0
    max_length: int = 128
    seed: int = 0

    @property
    def num_boundaries(self) -> int:
        """Boundaries of a whole trial."""
        return self.epochs * self.boundaries_per_epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What a user asked of any command that trains; None where a default depends on something else.

    Attributes:
        task: A task's name, or the path of a task file.
        model: A packaged model's short name, a folder, or an id on the hub.
        targets: Adapted projections, in place of the space's own.
        slots: Trials that one device trains together.
        training: The recipe of all trials.
        study: The study's name.
        studies_dir: Folder of all studies.
        data_dir: Folder in GLUE's layout that must have the task.
        fallback_data_dir: Folder in GLUE's layout that may have the task.
        data_source: Where data may come from.
        select_on: The split that trials are scored on.
        precision: Of the frozen weights.
        devices: One worker each.
        ray: Address of a Ray cluster, whose devices are used in place of this machine's.
        model_cache: Folder of fetched models.
    """

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


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceConfig(RunConfig):
    """What a user asked of a command that works on a search space under a budget.

    Attributes:
        budget: Largest number of trainable adapter parameters, or the rank of a LoRA of as many.
        space: A preset's name, or the path of a search-space file.
    """

    budget: Budget
    space: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineConfig(SpaceConfig):
    """What a user asked of a baseline.

    Attributes:
        also: Other kinds of adapters to train beside it: of `cp`, `tt`, `lora`.
        rank: Rank of every mode, whatever the budget; None for the largest within it.
        is_capped: Whether no rank is larger than its mode can use.
    """

    also: tuple[str, ...]
    rank: int | None
    is_capped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig(RunConfig):
    """What a user asked of a sweep.

    Attributes:
        sweep: Its name.
        seeds: Trainings of every allocation, each with a seed of its own.
        learning_rate: Base learning rate of all allocations.
    """

    sweep: str
    seeds: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig(SpaceConfig):
    """What a user asked of one search.

    Attributes:
        trials: Finished trials that the study is to have in all.
        confirm_seeds: Seeds that its best allocations are trained again with.
        timeout: Seconds after which no trial is started.
        storage: URL of a storage, in place of a file in the study's folder.
        sampler: A sampler's name.
        pruner: A pruner's name.
        prior: A prior's name, or `study:NAME`.
        prior_strength: How much the sampler believes the prior.
        start: Recipes whose allocations are tried first.
    """

    trials: int
    confirm_seeds: int
    timeout: float | None
    storage: str | None
    sampler: str
    pruner: str
    prior: str
    prior_strength: float
    start: tuple[Path, ...]


def model_cache() -> Path:
    """Say where fetched models are kept: `allocator` in $XDG_CACHE_HOME, or in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "allocator"
