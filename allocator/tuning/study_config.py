"""What makes a study's trials comparable: the configuration that all of them share."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from allocator.adapters.recipe import ModelSection, TaskSection
from allocator.allocation import BackboneShape
from allocator.config import Precision, SelectOn, TrainingConfig, parse_yaml
from allocator.errors import StudyError
from allocator.tuning.space_file import SpaceFile


class StudyConfig(BaseModel):
    """The content of a study's `config.yaml`; a study is resumed only with the same one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    budget: int
    model: ModelSection
    task: TaskSection
    select_on: SelectOn
    space_name: str
    space: SpaceFile
    backbone: BackboneShape
    training: TrainingConfig
    precision: Precision
    sampler: str
    pruner: str
    prior: str
    prior_strength: float
    start: tuple[dict[str, int | float | str], ...]
    versions: dict[str, str]

    def require_same(self, recorded: StudyConfig) -> None:
        """Refuse to go on with a study that was made with another configuration.

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


def read_study_config(path: Path) -> StudyConfig:
    """Read a study's configuration.

    Raises:
        StudyError: If the file is missing or breaks the schema.
    """
    if not path.is_file():
        raise StudyError(f"{path} does not exist, so {path.parent} is not a study's folder")
    text = path.read_text(encoding="utf-8")
    return parse_yaml(text, StudyConfig, origin=str(path), error=StudyError)


def _flat(content: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
