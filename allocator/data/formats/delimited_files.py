"""Read one split from a delimited text file: GLUE's TSV, or a user's TSV or CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from allocator.data.tasks import Examples, FileLayout, Task, is_valid_score
from allocator.errors import DataError

_LARGEST_FIELD = 2**31 - 1  # characters: the largest that the csv module takes on all systems

Row = tuple[int, list[str]]
"""The number of a row's first line in its file, and the row's fields."""


class DelimitedSplit:
    """A user's file of delimited text, whose first line names the columns.

    Args:
        path: The file, as for `read_delimited_split`.
        delimiter: Character between fields. Double quotes enclose fields unless it is a tab.
    """

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path = path
        # In GLUE's tab-separated files quotes are part of the texts.
        self._layout = FileLayout(folder="", delimiter=delimiter, quoted=delimiter != "\t")

    def has_lists(self, column: str) -> bool:
        """Whether a column has lists of names: never, as fields are plain text."""
        del column
        return False

    def read_classes(self, column: str) -> tuple[str, ...]:
        """List the distinct values of a column, sorted; errors as for `read_examples`."""
        return read_classes(self._path, column=column, layout=self._layout)

    def read_examples(self, task: Task) -> Examples:
        """Read the texts and labels of a task; errors as for `read_delimited_split`."""
        return read_delimited_split(self._path, task=task, layout=self._layout)


def read_delimited_split(path: Path, *, task: Task, layout: FileLayout) -> Examples:
    """Read a file's texts and labels.

    Args:
        path: The file: UTF-8, with or without a byte-order mark, lines ending in LF or CRLF. Empty
            lines are skipped.
        task: The columns and labels that the file must have.
        layout: The file's delimiter, quotes and header.

    Raises:
        DataError: If the file cannot be read, lacks a column, has no examples, or has a malformed
            line; the message names file and line.
    """
    rows = read_rows(path, layout)
    # An empty file has no header, so its first column is reported as missing.
    line, header = (1, layout.header) if layout.header else next(rows, (1, ()))
    text_at = [find_column(column, header, f"{path}:{line}") for column in task.text_columns]
    label_columns = task.labels if task.is_multi_label else (task.label_column,)
    label_at = [find_column(column, header, f"{path}:{line}") for column in label_columns]
    texts: list[tuple[str, ...]] = []
    labels: list[float] = []
    flags: list[tuple[int, ...]] = []
    for line, row in rows:
        if len(row) != len(header):
            if layout.skip_malformed:
                continue
            raise describe_malformed(row, header, f"{path}:{line}")
        texts.append(_check_texts([row[i] for i in text_at], task, f"{path}:{line}"))
        if task.is_multi_label:
            flags.append(_parse_flags([row[i] for i in label_at], task, f"{path}:{line}"))
        else:
            labels.append(_parse_label(row[label_at[0]], task, f"{path}:{line}"))
    if not texts:
        raise DataError(f"{path}: no examples; a split needs at least one")
    return Examples(inputs=tuple(texts), labels=tuple(flags) if flags else tuple(labels))


def read_classes(path: Path, *, column: str, layout: FileLayout) -> tuple[str, ...]:
    """List the distinct values of a column, sorted.

    Raises:
        DataError: If the file cannot be read, lacks the column, or has an empty value in it.
    """
    rows = read_rows(path, layout)
    line, header = next(rows, (1, []))
    position = find_column(column, header, f"{path}:{line}")
    classes: set[str] = set()
    for line, row in rows:
        if len(row) == len(header):  # `read_delimited_split` reports the others
            if not row[position]:
                raise DataError(f"{path}:{line}: no class in {column!r}; fill it in")
            classes.add(row[position])
    return tuple(sorted(classes))


def read_rows(path: Path, layout: FileLayout) -> Iterator[Row]:
    """Read the rows of a file one by one, a header line among them; empty lines are skipped.

    Raises:
        DataError: If the file cannot be read, or breaks its format; the message names file and
            line.
    """
    lines = _decode_lines(path, layout)
    if layout.quoted:
        yield from _read_quoted_rows(path, lines, layout.delimiter)
        return
    for number, line in enumerate(lines, start=1):
        # `rstrip` would remove empty fields and spaces at the end, and `splitlines` would split at
        # characters such as U+2028, which texts may contain.
        text = line.removesuffix("\n").removesuffix("\r")
        if text:
            yield number, text.split(layout.delimiter)


def _read_quoted_rows(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    # By default a field of more than 131,072 characters is refused.
    csv.field_size_limit(_LARGEST_FIELD)
    # Without `strict`, an open quote would silently take the rest of the file as one field.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        # A row with line breaks in quotes has several lines, and errors name its first.
        first_line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}:{first_line}: {error}; check the quotes from here on"
            ) from error
        if row:
            yield first_line, row


def _decode_lines(path: Path, layout: FileLayout) -> Iterator[str]:
    """Decode a file line by line, so that an invalid byte can be reported with its line."""
    try:
        file = path.open("rb")
    except OSError as error:
        wanted = (
            f"; this task's splits are {layout.train} and {layout.dev}" if layout.folder else ""
        )
        raise DataError(f"{path}: {error.strerror}{wanted}") from error
    with file:
        # Lines of bytes end at LF alone, a byte that is part of no other character in UTF-8.
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise DataError(
                    f"{path}:{number}: a data file must be UTF-8, got byte 0x{byte:02x}; "
                    f"save it as UTF-8"
                ) from error
            # A byte-order mark would become part of the first column's name.
            yield text.removeprefix("\ufeff") if number == 1 else text


def find_column(column: str, header: Sequence[str], where: str) -> int:
    """Find the position of a column by its name.

    Raises:
        DataError: If there is none; the message begins with `where`.
    """
    if column not in header:
        present = ", ".join(repr(name) for name in header) or "none"
        raise DataError(f"{where}: no column {column!r}; columns are {present}")
    return header.index(column)


def describe_malformed(row: Sequence[str], header: Sequence[str], where: str) -> DataError:
    """Describe a row that does not have a field for each column."""
    columns = ", ".join(header)
    return DataError(f"{where}: a row must have {len(header)} fields ({columns}), got {len(row)}")


def _check_texts(texts: list[str], task: Task, where: str) -> tuple[str, ...]:
    # One text of a pair may be empty: QQP has such questions.
    if not any(text.strip() for text in texts):
        columns = " and ".join(repr(column) for column in task.text_columns)
        raise DataError(f"{where}: no text in {columns}; remove the row or fill it in")
    return tuple(texts)


def _parse_flags(fields: Sequence[str], task: Task, where: str) -> tuple[int, ...]:
    for column, field in zip(task.labels, fields, strict=True):
        if field not in ("0", "1"):
            raise DataError(f"{where}: {column!r} must be 0 or 1, got {field!r}")
    return tuple(map(int, fields))


def _parse_label(text: str, task: Task, where: str) -> float:
    column = repr(task.label_column)
    if not task.is_regression:
        if text not in task.labels:
            classes = ", ".join(task.labels)
            raise DataError(f"{where}: {column} must be one of {classes}, got {text!r}")
        return task.labels.index(text)
    try:
        value = float(text)
    except ValueError as error:
        raise DataError(f"{where}: {column} must be a number, got {text!r}") from error
    # `float` also reads `nan`, `inf` and numbers that are too large for float32.
    if not is_valid_score(value):
        raise DataError(f"{where}: {column} must be a finite number of float32, got {text!r}")
    return value
