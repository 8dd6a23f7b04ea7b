"""What several rooms share: how an adapter is built, is trained, and has its answers calibrated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from allocator.errors import ModelError

Initialization = Literal["orthogonal", "normal", "kaiming_uniform"]
Precision = Literal["float32", "bfloat16"]
DataSource = Literal["auto", "dir", "hub", "bundled"]
SelectOn = Literal["held_out", "dev"]


LORA_BUDGET = "lora:"  # how such a budget is written


@dataclass(frozen=True, slots=True)
class LoraBudget:
    """A budget of as many parameters as LoRA of this rank would have on the same sites."""

    rank: int

    def __str__(self) -> str:
        """Write it as it is given: `lora:8`."""
        return f"{LORA_BUDGET}{self.rank}"


Budget = int | LoraBudget
"""Largest number of trainable adapter parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """The configuration of an adapter besides its shape and ranks.

    Attributes:
        scaling: Factor by which the whole update is multiplied.
        initialization: Distribution of the factors that do not start at zero.
    """

    # Like LoRA's alpha / r.
    scaling: float = 4.0
    initialization: Initialization = "orthogonal"


@dataclass(frozen=True, slots=True)
class Option:
    """The command-line option of a field.

    Attributes:
        group: Heading of the option in the help.
        help: Explanation of the option in the help.
        metavar: Placeholder of its value; by default N for integers and X for other numbers.
        is_positional: Whether it is a positional argument.
        has_auto: Whether `auto` stands for None, which is the default.
        noun: Noun for the value in the message about an unknown name; by default the field's name.
    """

    group: str
    help: str
    metavar: str | None = None
    is_positional: bool = False
    has_auto: bool = False
    noun: str | None = None


class Config(BaseModel):
    """An immutable configuration that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainingConfig(Config):
    """The training configuration that all trials of a study share.

    A search space may replace `head_learning_rate` and `dropout` by ranges; all other fields are
    the same for all trials.
    """

    epochs: Annotated[
        int, Field(ge=1), Option("training", "passes of each trial over its training examples")
    ] = 3
    batch_size: Annotated[int, Field(ge=1), Option("training", "examples in one step")] = 32
    boundaries_per_epoch: Annotated[
        int,
        Field(ge=1),
        Option("training", "evaluations in each epoch, the last one at its end"),
    ] = 1
    head_learning_rate: Annotated[
        float, Field(gt=0), Option("training", "peak learning rate of the task head")
    ] = 1e-3
    weight_decay: Annotated[
        float, Field(ge=0), Option("training", "AdamW's decoupled decay of every trained parameter")
    ] = 0.01
    max_grad_norm: Annotated[
        float, Field(gt=0), Option("training", "norm that each trial's gradient is clipped to")
    ] = 1.0
    warmup: Annotated[
        float,
        Field(ge=0, lt=1),
        Option(
            "training",
            "fraction of all steps in which learning rates rise linearly, before a cosine to zero",
        ),
    ] = 0.1
    dropout: Annotated[
        float,
        Field(ge=0, lt=1),
        Option("training", "dropout on the input of every adapter, while it trains"),
    ] = 0.0
    max_length: Annotated[
        int,
        Field(ge=4),
        Option("training", "tokens after which a text is cut; images ignore it"),
    ] = 128
    held_out: Annotated[
        float,
        Field(gt=0, le=0.5),
        Option(
            "training",
            "fraction of train, at most 5,000 examples, that each seed holds out to score its "
            "trainings on",
        ),
    ] = 0.25
    seed: Annotated[
        int,
        # scikit-learn, which splits off what is held out, takes no larger seed.
        Field(ge=0, lt=2**32),
        Option(
            "training",
            "seed of the held-out split, the initialisation, the order of the data, and the "
            "sampler",
        ),
    ] = 0

    @property
    def num_boundaries(self) -> int:
        """Number of boundaries of a whole trial."""
        return self.epochs * self.boundaries_per_epoch


class Calibration(Config):
    """A correction of how confident answers are: `scale * outputs + intercept`.

    `intercept` is 0 for classes, where only differences between logits matter.
    """

    scale: Annotated[float, Field(gt=0)] = 1.0
    intercept: float = 0.0


def fallback_data_dir() -> Path | None:
    """Return the folder of task data that the environment names."""
    value = os.environ.get("ALLOCATOR_DATA_DIR")
    return Path(value) if value else None


def default_model_cache() -> Path:
    """Return the folder of fetched models: `allocator` in $XDG_CACHE_HOME, or in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(cache or Path.home() / ".cache") / "allocator"
    except RuntimeError:  # no home is known of this user
        raise ModelError(
            "there is no home directory to keep models in; give one in $HOME, or a folder in "
            "$XDG_CACHE_HOME"
        ) from None
