"""A task, its examples, and the places of its files and columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = tuple[int, ...] | tuple[float, ...] | tuple[tuple[int, ...], ...]

SYNTHETIC = "cola-synthetic"
"""The task of the bundled corpus: CoLA's format under its own name."""

TASK_FILE_SUFFIXES = (".yaml", ".yml")

LARGEST_SCORE = float.fromhex("0x1.fffffep+127")
"""The largest finite number of float32, (2 - 2^-23) x 2^127."""


def is_task_file(name: str) -> bool:
    """Whether a task is given as the path of a task file, and not by its name."""
    return name.endswith(TASK_FILE_SUFFIXES)


def is_valid_score(value: float) -> bool:
    """Whether a number can be a score: finite, also in float32, in which heads are trained."""
    # NaN compares false, so it is refused too.
    return abs(value) <= LARGEST_SCORE


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A task: what is predicted from which columns, by the names in the task's own files.

    Attributes:
        name: The task's name on the command line and in reports.
        text_columns: One column of texts, or two for pairs; empty for images.
        label_column: The column with the class, the labels or the score; empty for images, and
            where every label is a column of its own.
        labels: Names of classes or labels as they are in the files, in the order of the head's
            outputs; empty for regression.
        metric: A metric's name, as `load_metric` takes it.
        is_multi_label: Whether an example may have any number of the labels, not one of them.
    """

    name: str
    text_columns: tuple[str, ...]
    label_column: str
    labels: tuple[str, ...]
    metric: str
    is_multi_label: bool = False

    @property
    def num_labels(self) -> int:
        """Number of outputs of the head: one for each class or label, or one for regression."""
        return len(self.labels) or 1

    @property
    def is_regression(self) -> bool:
        """Whether the labels are scores, not classes."""
        return not self.labels

    @property
    def is_of_images(self) -> bool:
        """Whether the inputs are images, not texts."""
        return not self.text_columns


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLayout:
    """The places of a task's two splits in a folder of delimited text files, and their format.

    Attributes:
        folder: The task's folder under the data folder.
        train: File name of the training split.
        dev: File name of the official dev split.
        header: Column names of files without a header line; None if the first line names them.
        delimiter: Character between the fields of a line.
        quoted: Whether double quotes enclose fields, as in CSV, or are text, as in GLUE.
        skip_malformed: Whether a line with the wrong number of fields is skipped, not an error.
    """

    folder: str
    train: str = "train.tsv"
    dev: str = "dev.tsv"
    header: tuple[str, ...] | None = None
    delimiter: str = "\t"
    quoted: bool = False
    skip_malformed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class HubLayout:
    """Names of a task's configuration, splits and columns in a dataset repository on the hub."""

    config: str
    text_columns: tuple[str, ...]
    label_column: str = "label"
    train: str = "train"
    dev: str = "validation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """One split in memory.

    Attributes:
        inputs: For each example one or two texts, or the path of one image.
        labels: Class ids (`int`) for classification, scores (`float`) for regression; for several
            labels a row of 0 and 1, one for each.
    """

    inputs: tuple[tuple[str, ...], ...]
    labels: Labels

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"got {len(self.inputs)} inputs and {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Iterable[int]) -> Examples:
        """Select the examples at `indices`, in the order of `indices`."""
        chosen = tuple(indices)
        return Examples(
            inputs=tuple(self.inputs[i] for i in chosen),
            # Of the one kind that all are of, which mypy does not see.
            labels=tuple(self.labels[i] for i in chosen),  # type: ignore[arg-type]
        )

    @property
    def label_array(self) -> NDArray[np.number]:
        """Labels as an array, of shape (examples,), or (examples, labels) if there may be several.

        Class ids, and the 0 and 1 of labels, are integers, and scores are floats.
        """
        return np.asarray(self.labels)
