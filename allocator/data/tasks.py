"""What a task is, and GLUE's nine as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SYNTHETIC = "cola-synthetic"
"""The task of the bundled corpus: CoLA's format under its own name."""

_LARGEST_FLOAT32 = float.fromhex("0x1.fffffep+127")


def is_valid_score(value: float) -> bool:
    """Whether a number can be a score: finite, in the float32 that heads are trained in, too."""
    return abs(value) <= _LARGEST_FLOAT32


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is predicted from what, in the words of the task's own files.

    Attributes:
        name: The task's name in the table, on the command line and in reports.
        text_columns: One column for sentences, two for pairs, none for images.
        label_column: The column with the class or the score; empty for images.
        labels: Class names in id order as they stand in the files; empty for regression.
        metric: A metric's name, as `load_metric` takes it.
    """

    name: str
    text_columns: tuple[str, ...]
    label_column: str
    labels: tuple[str, ...]
    metric: str

    @property
    def num_labels(self) -> int:
        """Outputs of the head: one per class, or one for regression."""
        return len(self.labels) or 1

    @property
    def is_regression(self) -> bool:
        """Whether labels are scores, not classes."""
        return not self.labels

    @property
    def is_of_images(self) -> bool:
        """Whether images are classified, not texts."""
        return not self.text_columns


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLayout:
    """How a task's two splits lie in a folder of delimited text files.

    Attributes:
        folder: The task's folder under the data folder.
        train: File name of the training split.
        dev: File name of the official dev split.
        header: The columns of files that lack a header line; None where the first line names them.
        delimiter: What separates the fields of a line.
        quoted: Whether double quotes enclose fields (CSV) or are text (GLUE).
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
    """How a task's two splits lie in a dataset repository on the Hugging Face hub."""

    config: str
    text_columns: tuple[str, ...]
    label_column: str = "label"
    train: str = "train"
    dev: str = "validation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """One split in memory.

    Attributes:
        inputs: One or two texts per example; of an image task, the path of the image.
        labels: Class ids (`int`) for classification, scores (`float`) for regression.
    """

    inputs: tuple[tuple[str, ...], ...]
    labels: tuple[int, ...] | tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"got {len(self.inputs)} inputs and {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Iterable[int]) -> Examples:
        """Take the examples at `indices`, in their order."""
        chosen = tuple(indices)
        return Examples(
            inputs=tuple(self.inputs[i] for i in chosen),
            labels=tuple(self.labels[i] for i in chosen),
        )
