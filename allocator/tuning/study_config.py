"""What makes a study's trials comparable: the configuration that all of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict

from allocator.adapters.recipe import AdapterSection, ModelSection, TaskSection
from allocator.allocation import Allocation, BackboneShape
from allocator.config import Precision, SelectOn, TrainingConfig
from allocator.errors import StudyError
from allocator.tuning.space_file import SpaceFile
from allocator.yaml_files import parse_yaml

Config = TypeVar("Config", bound="SharedConfig")


class SharedConfig(BaseModel):
    """What makes trainings comparable: a folder of them is gone on with only with the same one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    study: str
    model: ModelSection
    task: TaskSection
    select_on: SelectOn
    backbone: BackboneShape
    training: TrainingConfig
    precision: Precision
    versions: dict[str, str]

    def require_same(self, recorded: Self) -> None:
        """Refuse to go on with what was made with another configuration.

        Versions of libraries may differ.

        Raises:
            StudyError: Naming the first setting that differs, and both values.
        """
        mine, theirs = _flat(self.model_dump(mode="json")), _flat(recorded.model_dump(mode="json"))
        for key in mine | theirs:
            if not key.startswith("versions.") and mine.get(key) != theirs.get(key):
                raise StudyError(
                    f"study {self.study!r} was made with {key} {theirs.get(key)!r}, "
                    f"got {mine.get(key)!r}; name another study with --study"
                )


class StudyConfig(SharedConfig):
    """The content of a study's `config.yaml`."""

    budget: int
    space_name: str
    space: SpaceFile
    sampler: str
    pruner: str
    prior: str
    prior_strength: float
    start: tuple[dict[str, int | float | str], ...]


class ListedAllocation(BaseModel):
    """One allocation of a list, chosen by nobody's search."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    adapter: AdapterSection
    num_parameters: int
    learning_rate: float
    core_lr_multiplier: float
    lr_multipliers: dict[str, float] = {}

    @property
    def allocation(self) -> Allocation:
        """The ranks and rates to train with."""
        return Allocation(
            ranks=self.adapter.ranks,
            learning_rate=self.learning_rate,
            core_lr_multiplier=self.core_lr_multiplier,
            lr_multipliers=self.lr_multipliers,
        )


class ListConfig(SharedConfig):
    """What a list of allocations is trained with: the `config.yaml` beside their tables."""

    allocations: dict[str, ListedAllocation]

    def joined(self, recorded: ListConfig) -> ListConfig:
        """Add the allocations that were trained before.

        Raises:
            StudyError: If anything else differs, or one of them goes by a name of this list.
        """
        names = self.allocations.keys() & recorded.allocations.keys()
        mine, theirs = (
            config.model_copy(update={"allocations": {n: config.allocations[n] for n in names}})
            for config in (self, recorded)
        )
        mine.require_same(theirs)
        return self.model_copy(update={"allocations": recorded.allocations | self.allocations})


def read_study_config(path: Path) -> StudyConfig:
    """Read a study's configuration.

    Raises:
        StudyError: If the file is missing, is not text in UTF-8, or breaks the schema.
    """
    return _read(path, StudyConfig)


def read_list_config(path: Path) -> ListConfig:
    """Read the configuration of a list of allocations; errors as for `read_study_config`."""
    return _read(path, ListConfig)


def _read(path: Path, kind: type[Config]) -> Config:
    if not path.is_file():
        raise StudyError(f"{path} does not exist, so {path.parent} is not a study's folder")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise StudyError(f"{path} is not text in UTF-8") from None
    return parse_yaml(text, kind, origin=str(path), error=StudyError)


def _flat(content: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
