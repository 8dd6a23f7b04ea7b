"""Read a user's own task from a YAML file that names its data, their columns and the metric."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from allocator.data.formats.hub_datasets import find_split, load_dataset_splits
from allocator.data.formats.image_folder import read_image_folder
from allocator.data.formats.split_reader import SplitReader, open_split
from allocator.data.held_out import LARGEST_PART, split_held_out
from allocator.data.scoring.glue_metrics import METRICS
from allocator.data.scoring.metric_checks import require_answers
from allocator.data.scoring.metric_names import resolve_metric
from allocator.data.task_schema import (
    DatasetTask,
    FileTask,
    ImageTask,
    TextTaskFile,
    read_task_words,
)
from allocator.data.tasks import Examples, Task
from allocator.errors import DataError, TaskError, UnknownNameError

DEV_SPLITS = ("validation", "dev", "valid", "val", "test")
"""Splits of a data set that dev may be, in the order of preference."""

DEV_FRACTION = 0.2
"""Fraction of train that becomes dev where there is no other."""

_SEED = 0  # fixed, so that studies with other seeds have the same dev


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnTask:
    """A user's own task with its data.

    Attributes:
        task: The task, named after its file unless the file names it.
        train: The training split.
        dev: The split that the final model is scored on.
        remarks: What was decided about the data that the file does not say, for the user.
    """

    task: Task
    train: Examples
    dev: Examples
    remarks: tuple[str, ...] = ()


def read_task_file(path: Path) -> OwnTask:
    """Read a user's own task.

    Args:
        path: The YAML file; paths in it are relative to its folder.

    Raises:
        TaskError: If the file is missing or invalid, or its data set cannot be loaded.
        DataError: If a data file that it names is malformed.
    """
    file = read_task_words(path)
    root = path.resolve().parent
    if isinstance(file, ImageTask):
        classes, train, dev = read_image_folder(root / file.images)
        return OwnTask(task=_make_task(path, file, classes), train=train, dev=dev)
    try:
        named_train, (named_dev, remark) = _open_splits(file, root)
    except (TaskError, UnknownNameError) as error:
        raise TaskError(f"{path}: {error}") from error
    task = _make_text_task(path, file, named_train)
    train = named_train.read_examples(task)
    if named_dev is not None:
        remarks = () if remark is None else (remark,)
        return OwnTask(task=task, train=train, dev=named_dev.read_examples(task), remarks=remarks)
    return _hold_out_dev(path, file, task, train)


def _open_splits(
    file: FileTask | DatasetTask, root: Path
) -> tuple[SplitReader, tuple[SplitReader | None, str | None]]:
    """Open train and, if there is one, dev, with what a user should know about its choice."""
    if isinstance(file, FileTask):
        train, *dev = (open_split(name, file.delimiter) for name in file.list_files(root))
        return train, (dev[0] if dev else None, None)
    place = file.locate(root)
    splits = load_dataset_splits(place, file.subset)
    train = find_split(splits, file.train, place)
    if file.dev is not None:
        return train, (find_split(splits, file.dev, place), None)
    name = next((name for name in DEV_SPLITS if name in splits and name != file.train), None)
    if name is None or file.dev_fraction is not None:
        return train, (None, None)
    # The first is what everybody expects.
    remark = f"dev is split {name!r} of {file.dataset}; dev: names another"
    return train, (splits[name], None if name == DEV_SPLITS[0] else remark)


def _hold_out_dev(path: Path, file: FileTask | DatasetTask, task: Task, train: Examples) -> OwnTask:
    """Let a part of train be dev, the same in every study."""
    fraction = file.dev_fraction or DEV_FRACTION
    try:
        kept, held_out = split_held_out(
            train,
            task=task,
            seed=_SEED,
            fraction=fraction,
            # A fraction that was asked for is meant.
            largest=LARGEST_PART if file.dev_fraction is None else None,
        )
    except DataError as error:
        raise DataError(f"{path}: there is no dev, and no part of train can be: {error}") from error
    return OwnTask(
        task=task,
        train=train.select(kept.tolist()),
        dev=train.select(held_out.tolist()),
        remarks=(
            f"dev is {len(held_out):,} of the {len(train):,} examples of train, held out from all "
            f"training{'' if file.dev_fraction else '; dev or dev_fraction would say otherwise'}",
        ),
    )


def _make_text_task(path: Path, file: TextTaskFile, train: SplitReader) -> Task:
    if len(file.label) > 1:
        return _make_task(path, file, file.label, text_columns=file.text, is_multi_label=True)
    (column,) = file.label
    classes = file.classes or ()
    if not classes and not file.regression:
        classes = train.read_classes(column)
        if len(classes) < 2:
            raise TaskError(
                f"{path}: a task needs two classes or more, got {', '.join(classes) or 'none'} in "
                f"column {column!r} of train"
            )
    return _make_task(
        path,
        file,
        classes,
        text_columns=file.text,
        label_column=column,
        is_multi_label=not file.regression and train.has_lists(column),
    )


def _make_task(
    path: Path,
    file: TextTaskFile | ImageTask,
    classes: tuple[str, ...],
    *,
    text_columns: tuple[str, ...] = (),
    label_column: str = "",
    is_multi_label: bool = False,
) -> Task:
    return Task(
        name=file.name or path.stem,
        text_columns=text_columns,
        label_column=label_column,
        labels=classes,
        metric=_choose_metric(path, file.metric, classes, is_multi_label=is_multi_label),
        is_multi_label=is_multi_label,
    )


def _choose_metric(
    path: Path, metric: str | None, classes: tuple[str, ...], *, is_multi_label: bool
) -> str:
    if metric is None:
        if is_multi_label:
            return "f1_micro"  # every label of every example counts alike, as in the loss
        return "accuracy" if classes else "pearson_and_spearman"
    if metric in METRICS:
        if is_multi_label:
            raise TaskError(
                f"{path}: metric {metric} is of one class for each example, not of several labels; "
                "give another, such as f1_micro or f1_macro"
            )
        # A metric of scores for a task with classes, or the other way round.
        if METRICS[metric].regression == bool(classes):
            needed = "regression: true" if classes else "classes"
            raise TaskError(f"{path}: metric {metric} needs {needed}; give another")
        if metric == "accuracy_and_f1" and len(classes) != 2:
            raise TaskError(f"{path}: metric {metric} needs two classes, got {len(classes)}")
        return metric
    name = resolve_metric(metric, path.resolve().parent)
    try:
        require_answers(name, len(classes), is_multi_label=is_multi_label)
    except TaskError as error:
        raise TaskError(f"{path}: {error}") from error
    return name
