"""Read a user's own task from a YAML file that names its data, their columns and the metric."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from allocator.data.formats.delimited_files import read_classes, read_delimited_split
from allocator.data.formats.image_folder import read_image_folder
from allocator.data.glue import GLUE
from allocator.data.scoring.glue_metrics import METRICS
from allocator.data.scoring.loaded_metrics import require_answers
from allocator.data.tasks import SYNTHETIC, Examples, FileLayout, Task
from allocator.errors import TaskError
from allocator.files.yaml_files import read_yaml_mapping, validate_mapping

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def _convert_to_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


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
        metric: A metric of this package; an id that `evaluate.load` takes, such as `f1`; or the
            path of a metric script, relative to the task file. It gets class ids, or scores if
            the task is a regression. All numbers in the dictionary that it returns become
            components, and their mean is the score, so higher must be better. By default accuracy,
            or `pearson_and_spearman` for a regression.
    """

    # Classes and columns may have bare numbers for names.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )

    name: Name | None = None
    metric: Name | None = None


class TextTaskFile(_TaskFile):
    """A task of texts: two delimited files, and the columns to read.

    Attributes:
        train: File of the training split.
        dev: File of the split that the final model is scored on.
        text: Column of the text, or two columns for pairs.
        label: Column of the class or the score.
        classes: Class names in the order of their ids; by default those in train, sorted.
        regression: Whether labels are scores.
        delimiter: Character between fields; by default a comma in `.csv`, a tab in `.tsv`. Double
            quotes enclose fields unless it is a tab.
    """

    train: Name
    dev: Name
    text: Columns
    label: Name
    classes: Annotated[tuple[Name, ...], Field(min_length=2)] | None = None
    regression: bool = False
    delimiter: Annotated[Name, Field(min_length=1, max_length=1)] | None = None


class ImageTaskFile(_TaskFile):
    """A task of images: a folder in the layout of `read_image_folder`."""

    images: Name


def read_task_file(path: Path) -> tuple[Task, Examples, Examples]:
    """Read a user's own task.

    Args:
        path: The YAML file; paths in it are relative to its folder.

    Returns:
        The task, named after the file unless the file names it, and its train and dev splits.

    Raises:
        TaskError: If the file is missing or invalid.
        DataError: If a data file that it names is malformed.
    """
    content = read_yaml_mapping(path, error=TaskError, what="task file ")
    origin = str(path)
    # One key decides the kind, so that mistakes are described by the schema that was meant.
    if "images" in content:
        images = validate_mapping(content, ImageTaskFile, origin=origin, error=TaskError)
        classes, train, dev = read_image_folder(path.resolve().parent / images.images)
        return _make_task(path, images, classes), train, dev
    return _read_texts(
        path, validate_mapping(content, TextTaskFile, origin=origin, error=TaskError)
    )


def _read_texts(path: Path, file: TextTaskFile) -> tuple[Task, Examples, Examples]:
    root = path.resolve().parent
    train, dev = root / file.train, root / file.dev
    # One of the files may be a CSV and the other a TSV.
    layouts = {split: _choose_layout(path, file, split) for split in (train, dev)}
    if file.regression and file.classes is not None:
        raise TaskError(f"{path}: a task has classes or regression: true, got both; drop one")
    classes = file.classes or ()
    if not classes and not file.regression:
        classes = read_classes(train, column=file.label, layout=layouts[train])
        if len(classes) < 2:
            raise TaskError(
                f"{path}: a task needs two classes or more, got {', '.join(classes)} in "
                f"column {file.label!r} of {train}"
            )
    task = _make_task(path, file, classes, text_columns=file.text, label_column=file.label)
    return (
        task,
        read_delimited_split(train, task=task, layout=layouts[train]),
        read_delimited_split(dev, task=task, layout=layouts[dev]),
    )


def _choose_layout(path: Path, file: TextTaskFile, split: Path) -> FileLayout:
    delimiter = file.delimiter or _DELIMITERS.get(split.suffix.lower())
    if delimiter is None:
        raise TaskError(
            f"{path}: {split.name} must end in {' or '.join(_DELIMITERS)}; or give its delimiter"
        )
    return FileLayout(
        folder="",
        train=file.train,
        dev=file.dev,
        delimiter=delimiter,
        # As in GLUE's files, where quotes are part of the texts.
        quoted=delimiter != "\t",
    )


def _make_task(
    path: Path,
    file: _TaskFile,
    classes: tuple[str, ...],
    *,
    text_columns: tuple[str, ...] = (),
    label_column: str = "",
) -> Task:
    name = file.name or path.stem
    if name in (*GLUE, SYNTHETIC):
        raise TaskError(
            f"{path}: {name!r} is the name of another task; give this one a name of its own"
        )
    return Task(
        name=name,
        text_columns=text_columns,
        label_column=label_column,
        labels=classes,
        metric=_choose_metric(path, file.metric, classes),
    )


def _choose_metric(path: Path, metric: str | None, classes: tuple[str, ...]) -> str:
    if metric is None:
        return "accuracy" if classes else "pearson_and_spearman"
    if metric in METRICS:
        # A metric of scores for a task with classes, or the other way round.
        if METRICS[metric].regression == bool(classes):
            needed = "regression: true" if classes else "classes"
            raise TaskError(f"{path}: metric {metric} needs {needed}; give another")
        if metric == "accuracy_and_f1" and len(classes) != 2:
            raise TaskError(f"{path}: metric {metric} needs two classes, got {len(classes)}")
        return metric
    script = path.resolve().parent / metric
    # evaluate also loads a folder that holds a script of the folder's name.
    is_script = metric.endswith(".py") or (script / f"{script.name}.py").is_file()
    name = str(script) if is_script else metric
    try:
        require_answers(name, len(classes))
    except TaskError as error:
        raise TaskError(f"{path}: {error}") from error
    return name
