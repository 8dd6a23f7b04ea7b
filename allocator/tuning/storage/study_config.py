"""What makes a study's trials comparable: the configuration that all of them share."""

from __future__ import annotations

from pathlib import Path

from allocator.coordination.list_config import SharedConfig, read_config_file
from allocator.tuning.space.space_file import SpaceFile


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


def read_study_config(path: Path) -> StudyConfig:
    """Read a study's configuration.

    Raises:
        StudyError: If the file is missing, is not text in UTF-8, or breaks the schema.
    """
    return read_config_file(path, StudyConfig)
