"""Read and write the tables of a study as CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from allocator.errors import StudyError
from allocator.files.whole_files import write_whole


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table; the file appears whole or not at all."""
    write_whole(path, table.to_csv(index=False).encode())


def read_table(path: Path, *, required: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table.

    Args:
        path: File of the table.
        required: Columns that it must have.

    Returns:
        The table; if the file is missing or empty, one with the required columns and no rows.

    Raises:
        StudyError: If the table lacks a required column.
    """
    try:
        # A name such as `8` would otherwise be read as a number.
        table = pd.read_csv(path, dtype={"name": str})
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return pd.DataFrame(columns=list(required))
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise StudyError(
            f"{path} must have a column {missing[0]}, has {', '.join(table.columns)}; "
            "another version wrote it: give another --study, or remove its folder"
        )
    return table
