"""What makes trainings comparable: the configuration that all trainings of a folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Self, TypeVar

from allocator.allocation.constructions import BackboneShape
from allocator.config import Config, Precision, SelectOn, TrainingConfig
from allocator.errors import StudyError
from allocator.files.adapter_section import ListedAllocation
from allocator.files.recipe import ModelSection, TaskSection
from allocator.files.yaml_files import read_yaml

Shared = TypeVar("Shared", bound="SharedConfig")


class SharedConfig(Config):
    """What all trainings of a folder share; others are not added to it."""

    study: str
    model: ModelSection
    task: TaskSection
    select_on: SelectOn
    backbone: BackboneShape
    training: TrainingConfig
    precision: Precision
    versions: dict[str, str]

    def require_same(self, recorded: Self) -> None:
        """Refuse to go on with trainings of another configuration; versions may differ.

        Raises:
            StudyError: Naming the first setting that differs, and both values.
        """
        mine, theirs = self.model_dump(mode="json"), recorded.model_dump(mode="json")
        mine, theirs = _flatten_keys(mine), _flatten_keys(theirs)
        for key in mine | theirs:
            if not key.startswith("versions.") and mine.get(key) != theirs.get(key):
                raise StudyError(
                    f"study {self.study!r} was made with {key} {theirs.get(key)!r}, "
                    f"got {mine.get(key)!r}; name another study with --study"
                )


class ListConfig(SharedConfig):
    """What a list of allocations is trained with: the `config.yaml` beside their tables."""

    allocations: dict[str, ListedAllocation]

    @classmethod
    def of(cls, shared: SharedConfig, allocations: dict[str, ListedAllocation]) -> Self:
        """Add a list of allocations to what their trainings share."""
        # A study's configuration has more, which is not shared by trainings of a list.
        fields = {name: getattr(shared, name) for name in SharedConfig.model_fields}
        return cls(**fields, allocations=allocations)

    def join_recorded(self, recorded: ListConfig) -> ListConfig:
        """Add the allocations that were trained before.

        Raises:
            StudyError: If anything else differs, or another allocation has a name of this list.
        """
        names = self.allocations.keys() & recorded.allocations.keys()
        mine, theirs = (
            config.model_copy(update={"allocations": {n: config.allocations[n] for n in names}})
            for config in (self, recorded)
        )
        mine.require_same(theirs)
        return self.model_copy(update={"allocations": recorded.allocations | self.allocations})


def read_shared_config(path: Path, kind: type[Shared]) -> Shared:
    """Read the `config.yaml` of a study, or of a list of allocations.

    Raises:
        StudyError: If the file is missing, is not text in UTF-8, or breaks the schema.
    """
    return read_yaml(path, kind, error=StudyError)


def _flatten_keys(content: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Join the keys of nested mappings by dots."""
    flat: dict[str, object] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            flat |= _flatten_keys(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
