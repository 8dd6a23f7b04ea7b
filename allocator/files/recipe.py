"""Recipes: YAML files with everything needed to train one allocation again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.config import Calibration, Config, Precision, TrainingConfig
from allocator.errors import CheckpointError
from allocator.files.adapter_section import AdapterSection, RatesSection
from allocator.files.yaml_files import read_yaml


class ModelSection(Config):
    """The pretrained model: its name, id or folder, and the hash of its weights."""

    name: str
    sha256: str


class TaskSection(Config):
    """The task, where its data came from, and the hash of all its texts, or images, and labels.

    `labels` are the names of its classes in the order of the head's outputs; empty for regression.
    `is_multi_label` is whether an example may have any number of them.
    `limit` is the largest number of examples of each split; None if all are used.
    """

    name: str
    text_columns: tuple[str, ...]
    labels: tuple[str, ...]
    source: str
    fingerprint: str
    metric: str
    is_multi_label: bool = False
    limit: int | None = None

    @property
    def reference(self) -> str:
        """The path of its task file, or its name, as `load_task` takes it."""
        # GLUE's tasks are found by their names, a user's own only by its file.
        file = self.source.removeprefix("file:")
        return self.name if file == self.source else file


class TrainingSection(TrainingConfig, RatesSection):
    """Learning rates of the allocation, and the training configuration that all trials shared.

    `trains_pooler` is whether the model's pooler, if it has one, trains with the head.
    `calibration` was fitted to the answers to examples that were held out. A training on all of
    train has none left, and takes it over; None leaves answers as they are trained. Of two classes
    the second is answered where its logit exceeds the first's by `decision_threshold`.
    """

    # There is no other choice yet, but a recipe says everything that its training needs.
    optimizer: Literal["adamw"] = "adamw"
    schedule: Literal["cosine"] = "cosine"
    precision: Precision
    trains_pooler: bool = True
    calibration: Calibration | None = None
    decision_threshold: float = 0.0

    @classmethod
    def join(
        cls,
        allocation: Allocation,
        config: TrainingConfig,
        precision: Precision,
        *,
        trains_pooler: bool,
        calibration: Calibration | None = None,
        decision_threshold: float = 0.0,
    ) -> Self:
        """Join an allocation's learning rates and the training configuration."""
        # If the space searches these two, the trial trained with its own values.
        own = {"head_learning_rate": allocation.head_learning_rate, "dropout": allocation.dropout}
        shared = config.model_dump() | {k: value for k, value in own.items() if value is not None}
        return cls(
            learning_rate=allocation.learning_rate,
            core_lr_multiplier=allocation.core_lr_multiplier,
            lr_multipliers=dict(allocation.lr_multipliers),
            precision=precision,
            trains_pooler=trains_pooler,
            calibration=calibration,
            decision_threshold=decision_threshold,
            **shared,
        )

    @property
    def config(self) -> TrainingConfig:
        """The training configuration, without the allocation's learning rates."""
        return TrainingConfig(**self.model_dump(include=set(TrainingConfig.model_fields)))


class Recipe(Config):
    """The content of `best.yaml`."""

    budget: Annotated[int, Field(ge=1)]
    num_parameters: Annotated[int, Field(ge=1)]
    model: ModelSection
    task: TaskSection
    adapter: AdapterSection
    training: TrainingSection
    # From here on for people and model cards: no training reads it.
    scores: dict[str, float | int | str] = Field(default_factory=dict)
    study: dict[str, int | str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    def spec(self, backbone: BackboneShape) -> AdapterSpec:
        """Place the adapter on the backbone that the recipe was made for.

        Raises:
            SpaceError: If the ranks do not fit the construction.
            CheckpointError: If they do not have the number of parameters that the recipe states.
        """
        spec = self.adapter.to_spec(backbone)
        spec.shape.check_ranks(self.adapter.ranks)
        count = spec.shape.num_parameters(self.adapter.ranks)
        if count != self.num_parameters:
            ranks = ", ".join(f"{name} {rank}" for name, rank in self.adapter.ranks.items())
            raise CheckpointError(
                f"num_parameters must be {count:,}, as many as ranks {ranks} have on "
                f"{self.model.name}, got {self.num_parameters:,}; correct it in the recipe"
            )
        return spec

    def make_allocation(self, learning_rate: float | None = None) -> Allocation:
        """Return the allocation, at another base learning rate if one is given."""
        return Allocation(
            ranks=self.adapter.ranks,
            learning_rate=learning_rate or self.training.learning_rate,
            core_lr_multiplier=self.training.core_lr_multiplier,
            lr_multipliers=self.training.lr_multipliers,
            head_learning_rate=self.training.head_learning_rate,
            dropout=self.training.dropout,
        )


def read_recipe(path: Path | str) -> Recipe:
    """Read a recipe.

    Raises:
        CheckpointError: If the file is missing or breaks the schema.
    """
    return read_yaml(Path(path), Recipe, error=CheckpointError)
