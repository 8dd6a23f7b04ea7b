"""Read one split whose columns have types: of a data set, or of a file that `datasets` reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import datasets

from allocator.data.tasks import Examples, Labels, Task, is_valid_score
from allocator.errors import DataError

_FLOAT32 = ("float16", "float32")


class TypedSplit:
    """A split of named columns, each of one type.

    A missing value is None here, unlike in delimited text, so an empty text is a text. Classes may
    be strings, whole numbers, or class labels with names of their own.

    Args:
        table: Its rows.
        where: What it was read from, for messages.
    """

    def __init__(self, table: datasets.Dataset, where: str) -> None:
        self._table, self._where = table, where

    def has_lists(self, column: str) -> bool:
        """Whether a column has lists of the names of labels.

        Raises:
            DataError: If the split lacks the column.
        """
        self._require_column(column)
        # Lists of any kind say what they are of.
        return hasattr(self._table.features[column], "feature")

    def read_classes(self, column: str) -> tuple[str, ...]:
        """List the classes or labels in a column: those that it declares, or its values, sorted.

        Raises:
            DataError: If the split lacks the column, or a row has no class in it.
        """
        self._require_column(column)
        element = self._find_element(column)
        if isinstance(element, datasets.ClassLabel):
            return tuple(element.names)
        # As text, so that a task has the same ids whatever format its files have.
        return tuple(sorted({name for names in self._iterate_names(column) for name in names}))

    def read_examples(self, task: Task) -> Examples:
        """Read the texts and labels of a task.

        Raises:
            DataError: If the split lacks a column, has no examples, or has a row whose text or
                label is missing or of another kind; the message names it, counted from 0.
        """
        return Examples(inputs=self.read_texts(task.text_columns), labels=self._read_labels(task))

    def read_texts(self, columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Read the texts in some columns, for each row.

        Raises:
            DataError: As for `read_examples`.
        """
        for column in columns:
            self._require_column(column)
        if not len(self._table):
            raise DataError(f"{self._where}: no examples; a split needs at least one")
        texts = tuple(zip(*(self._table[column][:] for column in columns), strict=True))
        for row, values in enumerate(texts):
            for column, value in zip(columns, values, strict=True):
                if not isinstance(value, str):
                    raise self._refuse(row, column, "text", "must be a string", value)
        return texts

    def read_scores(self, column: str) -> tuple[float, ...]:
        """Read the scores in a column.

        Raises:
            DataError: As for `read_examples`.
        """
        self._require_column(column)
        rounds = getattr(self._table.features[column], "dtype", "") in _FLOAT32
        scores: list[float] = []
        for row, value in enumerate(self._table[column][:]):
            if not _is_number(value) or not is_valid_score(value):
                raise self._refuse(
                    row, column, "score", "must be a finite number of float32", value
                )
            # Rounded to seven digits, a float32 equals the number that a text file has.
            scores.append(float(f"{value:.7g}") if rounds else float(value))
        return tuple(scores)

    def read_ids(self, column: str, num_classes: int) -> tuple[int, ...]:
        """Read the class ids in a column, as the split's own numbers.

        Raises:
            DataError: As for `read_examples`.
        """
        self._require_column(column)
        ids: list[int] = []
        for row, value in enumerate(self._table[column][:]):
            # A label that the hub hides is -1.
            if not isinstance(value, int) or not 0 <= value < num_classes:
                raise self._refuse(row, column, "class", f"must be 0 to {num_classes - 1}", value)
            ids.append(value)
        return tuple(ids)

    def _read_labels(self, task: Task) -> Labels:
        if task.is_regression:
            return self.read_scores(task.label_column)
        if task.is_multi_label and not task.label_column:
            return self._read_flags(task.labels)
        self._require_column(task.label_column)
        position = {name: i for i, name in enumerate(task.labels)}
        rows: list[list[int]] = []
        for row, names in enumerate(self._iterate_names(task.label_column)):
            for name in names:
                if name not in position:
                    raise DataError(
                        f"{self._at(row)}: {task.label_column!r} must be one of "
                        f"{', '.join(task.labels)}, got {name!r}"
                    )
            rows.append([position[name] for name in names])
        if self.has_lists(task.label_column) != task.is_multi_label:
            raise DataError(
                f"{self._where}: {task.label_column!r} must hold "
                f"{'lists of labels' if task.is_multi_label else 'one class'} in every row, as in "
                "the split that the classes are from"
            )
        if task.is_multi_label:
            return tuple(tuple(int(i in ids) for i in range(len(position))) for ids in rows)
        return tuple(ids[0] for ids in rows)

    def _read_flags(self, columns: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Read columns of 0 and 1, one for each label."""
        flags: list[list[int]] = []
        for column in columns:
            self._require_column(column)
            values = self._table[column][:]
            for row, value in enumerate(values):
                if value not in (0, 1):  # False and True are equal to these
                    raise self._refuse(row, column, "label", "must be 0 or 1", value)
            flags.append([int(value) for value in values])
        return tuple(zip(*flags, strict=True))

    def _find_element(self, column: str) -> object:
        """Return the type of a column's values, or of the elements of its lists."""
        feature = self._table.features[column]
        return getattr(feature, "feature", feature)

    def _iterate_names(self, column: str) -> Iterator[Sequence[str]]:
        """Iterate over the rows of a column: the names of the classes in each, mostly one."""
        element = self._find_element(column)
        declared = element.names if isinstance(element, datasets.ClassLabel) else None
        has_lists = self.has_lists(column)
        for row, value in enumerate(self._table[column][:]):
            if value is None:
                raise self._refuse(row, column, "class", "", value)
            names = value if has_lists else [value]
            yield [self._name_class(name, declared, row, column) for name in names]

    def _name_class(
        self, value: object, declared: Sequence[str] | None, row: int, column: str
    ) -> str:
        # pandas turns a column of whole numbers into floats if one of them is missing.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value == "" or not isinstance(value, str | int):
            raise self._refuse(row, column, "class", "must be a string or a whole number", value)
        if declared is None:
            return str(value)
        if not isinstance(value, int) or not 0 <= value < len(declared):
            # -1 is a label that the hub hides.
            raise self._refuse(row, column, "class", f"must be 0 to {len(declared) - 1}", value)
        return declared[value]

    def _require_column(self, column: str) -> None:
        if column not in self._table.column_names:
            present = ", ".join(map(repr, self._table.column_names)) or "none"
            raise DataError(f"{self._where}: no column {column!r}; columns are {present}")

    def _at(self, row: int) -> str:
        return f"{self._where}, row {row}"

    def _refuse(self, row: int, column: str, what: str, rule: str, value: object) -> DataError:
        # NaN is how pandas writes a number that is missing.
        if value is None or value == "" or value != value:  # noqa: PLR0124
            return DataError(
                f"{self._at(row)}: no {what} in {column!r}; fill it in or remove the row"
            )
        return DataError(f"{self._at(row)}: a {what} {rule}, got {value!r} in {column!r}")


def _is_number(value: object) -> bool:
    # A bool is an int in Python.
    return isinstance(value, int | float) and not isinstance(value, bool)
