"""The names and places of a study's files."""

from __future__ import annotations

from pathlib import Path

from allocator.errors import StudyError, describe_unknown

CONFIG_FILE, RECIPE_FILE, ADAPTER_FILE = "config.yaml", "best.yaml", "adapter.safetensors"


def require_study(folder: Path) -> None:
    """Refuse a study that is not there.

    Raises:
        StudyError: Naming the studies that are.
    """
    if not folder.is_dir():
        known = [path.parent.name for path in folder.parent.glob(f"*/{CONFIG_FILE}")]
        raise StudyError(f"{describe_unknown('study', folder.name, known)} in {folder.parent}")


FOLDER = "baseline"

UNIFORM = "uniform"
"""Name of the baseline among the records of its folder."""
