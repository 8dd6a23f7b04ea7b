"""The configuration that all trainings of a folder share, which makes them comparable."""

from __future__ import annotations

from pathlib import Path
from typing import Self, TypeVar

from allocator.allocation.constructions import BackboneShape
from allocator.config import Config, Precision, SelectOn, TrainingConfig
from allocator.errors import StudyError
from allocator.files.adapter_section import ListedAllocation
from allocator.files.recipe import ModelSection, TaskSection
from allocator.files.yaml_files import read_yaml_mapping, validate_mapping

Shared = TypeVar("Shared", bound="SharedConfig")


class SharedConfig(Config):
    """The configuration that all trainings of a folder share; others are refused."""

    study: str
    model: ModelSection
    task: TaskSection
    select_on: SelectOn
    backbone: BackboneShape
    training: TrainingConfig
    precision: Precision
    versions: dict[str, str]

    def require_same(self, recorded: Self) -> None:
        """Refuse trainings that were recorded with another configuration.

        Versions may differ, and the place of the data, as a fingerprint says whether they are the
        same.

        Raises:
            StudyError: The message names the first setting that differs, and both values.
        """
        mine, theirs = self.model_dump(mode="json"), recorded.model_dump(mode="json")
        mine, theirs = _flatten_keys(mine), _flatten_keys(theirs)
        # Keys of both: a setting that only one of them has is a difference as well.
        for key in mine | theirs:
            is_free = key.startswith("versions.") or key == "task.source"
            if not is_free and mine.get(key) != theirs.get(key):
                raise StudyError(
                    f"study {self.study!r} was made with {key} {theirs.get(key)!r}, "
                    f"got {mine.get(key)!r}; name another study with --study"
                )


class ListConfig(SharedConfig):
    """The content of the `config.yaml` beside the tables of a list of allocations."""

    allocations: dict[str, ListedAllocation]

    @classmethod
    def of(cls, shared: SharedConfig, allocations: dict[str, ListedAllocation]) -> Self:
        """Add a list of allocations to the configuration that their trainings share."""
        # `shared` may be a study's configuration, with fields that a list does not have.
        fields = {name: getattr(shared, name) for name in SharedConfig.model_fields}
        return cls(**fields, allocations=allocations)

    def join_recorded(self, recorded: ListConfig) -> ListConfig:
        """Add the allocations that were trained before.

        Raises:
            StudyError: If anything else differs, or one name stands for different allocations.
        """
        # Compare the names that both have; each may have others.
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
        StudyError: If the file is missing, is not text in UTF-8, breaks the schema, or is of a
            version in which all seeds held out the same examples.
    """
    content = read_yaml_mapping(path, error=StudyError)
    training = content.get("training")
    if isinstance(training, dict) and "held_out" not in training:
        raise StudyError(
            f"{path} was made by an earlier version, whose trainings were scored on other "
            "examples; name another study with --study"
        )
    return validate_mapping(content, kind, origin=str(path), error=StudyError)


def _flatten_keys(content: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Join the keys of nested mappings by dots."""
    flat: dict[str, object] = {}
    for key, value in content.items():
        # An empty mapping is kept as a value, or no comparison would see it.
        if isinstance(value, dict) and value:
            flat |= _flatten_keys(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
