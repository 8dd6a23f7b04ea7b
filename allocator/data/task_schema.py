"""What a task file may say, and the mistakes in it that its words alone tell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from allocator.data.formats.split_reader import require_format
from allocator.data.glue import GLUE
from allocator.data.scoring.metric_names import require_metric_file
from allocator.data.tasks import SYNTHETIC
from allocator.errors import TaskError
from allocator.files.yaml_files import read_yaml_mapping, validate_mapping


def _convert_to_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _convert_labels(value: object) -> object:
    return value if isinstance(value, list) else (_require_as_written(value),)


def _require_as_written(value: object) -> object:
    """Refuse values whose original text YAML loses, such as a bare yes or .inf."""
    if isinstance(value, bool):
        raise ValueError(
            "YAML takes a bare yes, no, on, off, true or false for a truth value; quote it"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("YAML takes this for a number that is not finite; quote it")
    return value


Name = Annotated[str, BeforeValidator(_require_as_written)]
Columns = Annotated[
    tuple[Name, ...], BeforeValidator(_convert_to_tuple), Field(min_length=1, max_length=2)
]


class _TaskFile(BaseModel):
    """The fields that task files of all kinds may have.

    Attributes:
        name: The task's name; by default the file's, without its suffix.
        metric: As for `resolve_metric`. By default accuracy, or `pearson_and_spearman` for a
            regression, and `f1_micro` for several labels.
    """

    # Classes and columns may have bare numbers for names.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )

    name: Name | None = None
    metric: Name | None = None


class TextTaskFile(_TaskFile):
    """A task of texts: the columns to read.

    Attributes:
        text: Column of the text, or two columns for pairs.
        label: Column of the class, of the score, or of a list of labels; or the columns of several
            labels, each 0 or 1.
        classes: Names of classes or labels in the order of their ids; by default those in train,
            sorted, or in the order in which its column declares them.
        regression: Whether labels are scores.
        dev: The split that the final model is scored on.
        dev_fraction: Fraction of train that becomes dev if there is no other.
    """

    text: Columns
    label: Annotated[tuple[Name, ...], BeforeValidator(_convert_labels), Field(min_length=1)]
    classes: Annotated[tuple[Name, ...], Field(min_length=2)] | None = None
    regression: bool = False
    dev: Name | None = None
    dev_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None


class FileTask(TextTaskFile):
    """A task of two files of named columns, or of one, of which a part becomes dev.

    Attributes:
        train: File of the training split.
        delimiter: As for `open_split`.
    """

    train: Name
    delimiter: Annotated[Name, Field(min_length=1, max_length=1)] | None = None

    def list_files(self, root: Path) -> list[Path]:
        """List the data files, which are relative to `root`: train and, if there is one, dev."""
        return [root / name for name in (self.train, self.dev) if name is not None]


class DatasetTask(TextTaskFile):
    """A task of a data set of the Hugging Face hub, or of a folder in the form of one.

    Attributes:
        dataset: Its id on the hub, or a folder.
        subset: The name of its configuration, if it has several.
        train: Name of the training split.
    """

    dataset: Name
    subset: Name | None = None
    train: Name = "train"

    def locate(self, root: Path) -> str:
        """Return the folder, which is relative to `root`, or the id on the hub.

        Raises:
            TaskError: If it can only be a folder, and there is none.
        """
        folder = root / Path(self.dataset).expanduser()
        if folder.is_dir():
            return str(folder)
        # An id is of one or two plain names.
        if self.dataset.startswith((".", "/", "~")) or self.dataset.count("/") > 1:
            raise TaskError(f"there is no folder {folder} that could be the data set; correct it")
        return self.dataset


class ImageTask(_TaskFile):
    """A task of images: a folder in the layout of `read_image_folder`."""

    images: Name


def read_task_words(path: Path) -> FileTask | DatasetTask | ImageTask:
    """Read what a task file says, without its data.

    Args:
        path: The YAML file; paths in it are relative to its folder.

    Raises:
        TaskError: If the file is missing or invalid, or names a file that does not exist.
    """
    content = read_yaml_mapping(path, error=TaskError, what="task file ")
    # One key decides the kind, so that mistakes are described by the schema that was meant.
    kinds: dict[str, type[FileTask | DatasetTask | ImageTask]] = {
        "images": ImageTask,
        "dataset": DatasetTask,
    }
    schema = next((kinds[key] for key in kinds if key in content), FileTask)
    task = validate_mapping(content, schema, origin=str(path), error=TaskError)
    if (task.name or path.stem) in (*GLUE, SYNTHETIC):
        raise TaskError(
            f"{path}: {task.name or path.stem!r} is the name of another task; give this one a "
            "name of its own"
        )
    root = path.resolve().parent
    try:
        if isinstance(task, TextTaskFile):
            _require_one_of_two(task)
        if isinstance(task, FileTask):
            for file in task.list_files(root):
                require_format(file, task.delimiter)
        elif isinstance(task, DatasetTask):
            task.locate(root)
        if task.metric is not None:
            require_metric_file(task.metric, root)
    except TaskError as error:
        raise TaskError(f"{path}: {error}") from error
    return task


def _require_one_of_two(task: TextTaskFile) -> None:
    if task.regression and task.classes is not None:
        raise TaskError("a task has classes or regression: true, got both; drop one")
    if len(task.label) > 1 and (task.regression or task.classes is not None):
        raise TaskError(
            f"labels {', '.join(task.label)} are columns of their own, which need neither classes "
            "nor regression; drop it"
        )
    if len(set(task.label)) < len(task.label):
        raise TaskError(f"label must name each column once, got {', '.join(task.label)}")
    if task.dev is not None and task.dev_fraction is not None:
        raise TaskError("a task has dev or dev_fraction, got both; drop one")
