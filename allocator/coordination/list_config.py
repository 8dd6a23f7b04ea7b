"""What makes trainings comparable: the configuration that all of a folder share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict

from allocator.allocation import Allocation, BackboneShape
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.config import Precision, SelectOn, TrainingConfig
from allocator.coordination.records import Records
from allocator.errors import StudyError
from allocator.files.adapter_section import AdapterSection
from allocator.files.folder_lock import holds_other_files
from allocator.files.recipe import ModelSection, TaskSection
from allocator.files.study_layout import CONFIG_FILE
from allocator.files.yaml_files import parse_yaml, write_yaml

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


def read_list_config(path: Path) -> ListConfig:
    """Read the configuration of a list of allocations; errors as for `read_study_config`."""
    return read_config_file(path, ListConfig)


def read_config_file(path: Path, kind: type[Config]) -> Config:
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


def make_listed_allocation(spec: AdapterSpec, allocation: Allocation) -> ListedAllocation:
    """Describe an allocation for the configuration of a list."""
    shape = spec.shape
    return ListedAllocation(
        adapter=AdapterSection(
            construction=shape.construction,
            factorization=shape.factorization,
            full_modes=tuple(sorted(shape.full_modes)),
            zero_mode=shape.stated_zero_mode,
            ranks=dict(allocation.ranks),
            targets=shape.backbone.targets,
            scaling=spec.config.scaling,
            initialization=spec.config.initialization,
        ),
        num_parameters=shape.num_parameters(allocation.ranks),
        learning_rate=allocation.learning_rate,
        core_lr_multiplier=allocation.core_lr_multiplier,
        lr_multipliers=dict(allocation.lr_multipliers),
    )


def make_list_config(
    shared: SharedConfig, allocations: Mapping[str, ListedAllocation]
) -> ListConfig:
    """Join what trainings share and what they train."""
    fields = {name: getattr(shared, name) for name in SharedConfig.model_fields}
    return ListConfig(**fields, allocations=dict(allocations))


def open_records(folder: Path, config: ListConfig) -> Records:
    """Open the records in a folder for trainings of a list, and note what they are.

    Raises:
        StudyError: If the folder's trainings were of another configuration.
    """
    path = folder / CONFIG_FILE
    if path.exists():
        config = config.joined(read_list_config(path))
    elif holds_other_files(folder):
        raise StudyError(f"{folder} is not empty and holds no {CONFIG_FILE}; move it away")
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(path, config, "What the trainings recorded here share, and their allocations.")
    return Records(folder)
