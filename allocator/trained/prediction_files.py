"""Read what is to be predicted, from lines or from a table, and write a table with the answers.

Everything is read and written row by row, so that a file may be larger than memory.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from allocator.data.formats.delimited_files import describe_malformed, find_column, read_rows
from allocator.data.formats.split_reader import DELIMITERS
from allocator.data.tasks import FileLayout
from allocator.errors import DataError

ANSWER, PROBABILITY = "prediction", "probability"
"""Columns that a table gets."""

IMAGE_COLUMN = "image"
"""Column with the paths of images, in a table for a task of images."""

_JSON_LINES = ".jsonl"

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionInput:
    """One input that an answer is asked for.

    Attributes:
        inputs: One text, two texts, or the path of an image.
        where: Its origin and line number, for error messages.
        row: Its row in the table, by column; empty if it comes from a line.
    """

    inputs: tuple[str, ...]
    where: str
    row: Row = field(default_factory=dict)


def read_lines(
    lines: Iterable[str], columns: Sequence[str], *, origin: str
) -> Iterator[PredictionInput]:
    """Read an input from each line.

    Args:
        lines: Lines of one text each, of two texts with a TAB between them for a task on pairs, or
            of the path of an image.
        columns: The task's columns of texts; none for a task of images.
        origin: Origin of the lines, for error messages.

    Raises:
        DataError: If a line does not have the task's texts, or is not UTF-8.
    """
    for number, line in enumerate(_iterate_decoded(lines, origin), start=1):
        where = f"{origin}:{number}"
        # `strip` would also remove the TAB before or after an empty text of a pair.
        text = line.removesuffix("\n").removesuffix("\r")
        inputs = _split_texts(text, columns, where) if columns else (text,)
        yield PredictionInput(inputs=inputs, where=where)


def read_table(path: Path, columns: Sequence[str]) -> Iterator[PredictionInput]:
    """Read an input from each row of a table.

    Args:
        path: A CSV, TSV or JSON lines file, as its suffix says.
        columns: The task's columns of texts; none for a task of images, whose paths stand in the
            column `image`.

    Raises:
        DataError: If the file cannot be read, lacks a column, has one that an answer would
            overwrite, or breaks its format; the message names file and line.
    """
    wanted = tuple(columns) or (IMAGE_COLUMN,)
    for where, row in _read_rows(path):
        for name in wanted:
            find_column(name, list(row), where)
        for name in (ANSWER, PROBABILITY):
            if name in row:
                raise DataError(f"{where}: column {name!r} is to hold the answers; rename it")
        texts = [row[name] for name in wanted]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{where}: a text must be a string, got {texts!r}")
        yield PredictionInput(inputs=tuple(map(str, texts)), where=where, row=row)


def write_table(rows: Iterable[Row], path: Path, stream: TextIO) -> None:
    """Write rows that have the same columns to a stream.

    Args:
        rows: The rows.
        path: The file whose format they are written in.
        stream: Where they go.
    """
    delimiter = DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        for row in rows:
            stream.write(json.dumps(dict(row), ensure_ascii=False) + "\n")
        return
    write = _make_row_writer(stream, delimiter)
    for number, row in enumerate(rows):
        if not number:
            write(row)
        write(map(format_cell, row.values()))


def format_cell(value: object) -> str:
    """Format a value for a line of text: numbers with four decimals, several values in a list."""
    if isinstance(value, list):
        return ", ".join(map(format_cell, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _make_row_writer(stream: TextIO, delimiter: str) -> Callable[[Iterable[object]], object]:
    if delimiter == "\t":  # no quotes, as when it is read
        return lambda fields: stream.write("\t".join(map(str, fields)) + "\n")
    return csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerow


def _read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Read the rows of a table, each with its file and line."""
    suffix = path.suffix.lower()
    if suffix == _JSON_LINES:
        return _read_json_lines(path)
    if suffix not in DELIMITERS:
        raise DataError(f"{path}: a table must end in {', '.join([*DELIMITERS, _JSON_LINES])}")
    return _read_delimited(path, DELIMITERS[suffix])


def _read_delimited(path: Path, delimiter: str) -> Iterator[tuple[str, Row]]:
    rows = read_rows(path, FileLayout(folder="", delimiter=delimiter, quoted=delimiter != "\t"))
    first, header = next(rows, (1, []))
    if len(set(header)) < len(header):
        raise DataError(f"{path}:{first}: two columns have one name; rename one of them")
    for line, row in rows:
        if len(row) != len(header):
            raise describe_malformed(row, header, f"{path}:{line}")
        yield f"{path}:{line}", dict(zip(header, row, strict=True))


def _read_json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    with file:
        for number, line in enumerate(_iterate_decoded(file, str(path)), start=1):
            if line.strip():
                yield f"{path}:{number}", _parse_object(line, f"{path}:{number}")


def _parse_object(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: {error.msg}; a line must be one JSON object") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: a line must be one JSON object, got {line.strip()!r}")
    return row


def _iterate_decoded(lines: Iterable[str], origin: str) -> Iterator[str]:
    try:
        yield from lines
    # A text stream decodes while it is read, so the error comes out of the iteration.
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(
            f"{origin} must be UTF-8, got byte 0x{byte:02x}; save it as UTF-8"
        ) from None


def _split_texts(text: str, columns: Sequence[str], where: str) -> tuple[str, ...]:
    # An empty line is of empty texts, so that there is an answer for every line.
    texts = text.split("\t") if text else [""] * len(columns)
    if len(texts) != len(columns):
        raise DataError(
            f"{where}: a line must have {len(columns)} text(s) ({', '.join(columns)}), a TAB "
            f"between two, got {len(texts)}"
        )
    return tuple(texts)
