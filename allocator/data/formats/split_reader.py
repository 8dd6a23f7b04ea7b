"""What a task file needs of a split, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from allocator.data.formats.delimited_files import DelimitedSplit
from allocator.data.tasks import Examples, Task
from allocator.errors import TaskError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""The delimiter of delimited text files, by their suffix."""

BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".arrow": "arrow"}
"""The builder of `datasets` that reads a file with typed columns, by the file's suffix."""


class SplitReader(Protocol):
    """A split of named columns."""

    def has_lists(self, column: str) -> bool:
        """Whether a column has lists of the names of labels.

        Raises:
            DataError: If the split lacks the column.
        """
        ...

    def read_classes(self, column: str) -> tuple[str, ...]:
        """List the classes or labels in a column, in the order of their ids.

        Raises:
            DataError: If the split lacks the column, or a row has no class in it.
        """
        ...

    def read_examples(self, task: Task) -> Examples:
        """Read the texts and labels of a task.

        Raises:
            DataError: If the split lacks a column, has no examples, or has a row that does not fit.
        """
        ...


def require_format(path: Path, delimiter: str | None) -> None:
    """Refuse a file that is not there, or whose format is not known.

    Args:
        path: The file.
        delimiter: As for `open_split`.

    Raises:
        TaskError: If there is no such file, its suffix says no format, or its format has no
            delimiter.
    """
    suffix = path.suffix.lower()
    if delimiter is None and suffix not in (*DELIMITERS, *BUILDERS):
        known = ", ".join((*DELIMITERS, *BUILDERS))
        raise TaskError(f"{path.name} must end in one of {known}; or give its delimiter")
    if delimiter is not None and suffix in BUILDERS:
        raise TaskError(f"{path.name} has no delimiter, got {delimiter!r}; drop it")
    if not path.is_file():
        raise TaskError(f"data file {path} does not exist")


def open_split(path: Path, delimiter: str | None = None) -> SplitReader:
    """Open a file in the format that its suffix says.

    Args:
        path: A file that `require_format` accepts.
        delimiter: Character between fields of delimited text; None for that of the suffix. Double
            quotes enclose fields unless it is a tab.

    Raises:
        DataError: If the file cannot be read in its format.
    """
    builder = BUILDERS.get(path.suffix.lower())
    if builder is None:
        return DelimitedSplit(path, delimiter or DELIMITERS[path.suffix.lower()])
    # Imported here, because `datasets` takes seconds, and names are checked without it.
    from allocator.data.formats.typed_files import read_typed_file  # noqa: PLC0415

    return read_typed_file(path, builder)
