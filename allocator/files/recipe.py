"""A recipe: everything needed to train one allocation again, as a YAML file for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from allocator.allocation import Allocation, BackboneShape
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.config import Precision, TrainingConfig
from allocator.errors import CheckpointError
from allocator.files.adapter_section import AdapterSection, Positive, _Section
from allocator.files.yaml_files import parse_yaml


class ModelSection(_Section):
    """The pretrained model: its name, id or folder, and the hash of its weights."""

    name: str
    sha256: str


class TaskSection(_Section):
    """The task, where its data came from, and the hash of all its texts, or images, and labels.

    `labels` are the names of its classes in the order of the head's outputs; none for scores.
    """

    name: str
    text_columns: tuple[str, ...]
    labels: tuple[str, ...]
    source: str
    fingerprint: str
    metric: str

    @property
    def reference(self) -> str:
        """What `load_task` finds the task by: its task file, or its name."""
        file = self.source.removeprefix("file:")
        return self.name if file == self.source else file


class TrainingSection(_Section):
    """Learning rates of the allocation and the recipe that all trials shared.

    `trains_pooler` says whether the model's pooler, if it has one, trains with the head.
    """

    learning_rate: Positive
    core_lr_multiplier: Positive
    lr_multipliers: dict[str, Positive] = Field(default_factory=dict)
    head_learning_rate: Positive
    trains_pooler: bool = True
    optimizer: Literal["adamw"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Positive
    schedule: Literal["cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    boundaries_per_epoch: Annotated[int, Field(ge=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    max_length: Annotated[int, Field(ge=4)]
    precision: Precision
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    def config(self) -> TrainingConfig:
        """Give the part that does not belong to the allocation."""
        shared = self.model_dump(include=set(TrainingConfig.__dataclass_fields__))
        return TrainingConfig(**shared)


class Recipe(_Section):
    """The content of `best.yaml`."""

    budget: Annotated[int, Field(ge=1)]
    num_parameters: Annotated[int, Field(ge=1)]
    model: ModelSection
    task: TaskSection
    adapter: AdapterSection
    training: TrainingSection
    scores: dict[str, float | int | str] = Field(default_factory=dict)
    study: dict[str, int | str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    def spec(self, backbone: BackboneShape) -> AdapterSpec:
        """Place the adapter on the backbone that the recipe was made for.

        Raises:
            SpaceError: If the ranks do not fit the construction.
            CheckpointError: If they do not make the number of parameters that the recipe says.
        """
        spec = self.adapter.spec(backbone)
        spec.shape.check(self.adapter.ranks)
        count = spec.shape.num_parameters(self.adapter.ranks)
        if count != self.num_parameters:
            ranks = ", ".join(f"{name} {rank}" for name, rank in self.adapter.ranks.items())
            raise CheckpointError(
                f"num_parameters must be {count:,}, as many as ranks {ranks} have on "
                f"{self.model.name}, got {self.num_parameters:,}; correct it in the recipe"
            )
        return spec

    def allocation(self, learning_rate: float | None = None) -> Allocation:
        """Give the choice that the search made, at another base learning rate if one is given."""
        return Allocation(
            ranks=self.adapter.ranks,
            learning_rate=learning_rate or self.training.learning_rate,
            core_lr_multiplier=self.training.core_lr_multiplier,
            lr_multipliers=self.training.lr_multipliers,
        )


def training_section(
    allocation: Allocation,
    config: TrainingConfig,
    precision: Precision,
    *,
    trains_pooler: bool,
) -> TrainingSection:
    """Join an allocation's learning rates and the shared recipe."""
    shared = {name: getattr(config, name) for name in TrainingConfig.__dataclass_fields__}
    return TrainingSection(
        learning_rate=allocation.learning_rate,
        core_lr_multiplier=allocation.core_lr_multiplier,
        lr_multipliers=dict(allocation.lr_multipliers),
        precision=precision,
        trains_pooler=trains_pooler,
        **shared,
    )


def read_recipe(path: Path | str) -> Recipe:
    """Read a recipe.

    Raises:
        CheckpointError: If the file is missing or breaks the schema.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is not text in UTF-8") from None
    return parse_yaml(text, Recipe, origin=str(path), error=CheckpointError)
