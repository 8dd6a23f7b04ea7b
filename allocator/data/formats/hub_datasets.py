"""Read a task's splits from the Hugging Face hub or its cache, without long waits offline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import datasets
from datasets.exceptions import DatasetsError

from allocator.data.tasks import Examples, HubLayout, Task, is_valid_score
from allocator.errors import DataError, TaskError
from allocator.hub import NETWORK_ERRORS, find_hub_problem, first_line

GLUE_REPOSITORY = "nyu-mll/glue"


def load_hub_splits(
    hub: HubLayout,
    *,
    task: Task,
    repository: str = GLUE_REPOSITORY,
    cache_dir: Path | None = None,
    patience: float = 4.0,
) -> tuple[Examples, Examples]:
    """Load train and dev of a dataset repository with `datasets.load_dataset`.

    Args:
        hub: Names of configuration, splits and columns in the repository.
        task: The labels that the data must have.
        repository: The repository's id on the hub, or a folder in the same layout.
        cache_dir: Cache folder of `datasets`; None for its default.
        patience: Seconds to wait for the hub's first answer. If none comes, only the cache is read.

    Raises:
        TaskError: If neither the hub nor its cache has the data.
        DataError: If the data have other columns or labels than the task.
    """
    # A folder in the hub's layout is read without the network.
    reason = None if Path(repository).is_dir() else find_hub_problem(patience)
    try:
        with _stay_offline() if reason else contextlib.nullcontext():
            train, dev = datasets.load_dataset(
                repository,
                hub.config,
                split=[hub.train, hub.dev],
                cache_dir=None if cache_dir is None else str(cache_dir),
            )
    except (*NETWORK_ERRORS, DatasetsError) as error:
        place = f"{repository} ({hub.config}) on the Hugging Face hub"
        if reason:
            raise TaskError(f"{place}: {reason}, and its cache has no copy") from error
        raise TaskError(f"{place}: {first_line(error)}") from error
    where = f"{repository} ({hub.config})"
    return (
        _convert_examples(train, hub, task, f"{where}, split {hub.train}"),
        _convert_examples(dev, hub, task, f"{where}, split {hub.dev}"),
    )


@contextlib.contextmanager
def _stay_offline() -> Iterator[None]:
    """Restrict `datasets` to its cache: without a network it would retry for minutes."""
    # `datasets` reads the environment only when it is imported, so its constant is set.
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _convert_examples(split: datasets.Dataset, hub: HubLayout, task: Task, where: str) -> Examples:
    for column in (*hub.text_columns, hub.label_column):
        if column not in split.column_names:
            present = ", ".join(repr(name) for name in split.column_names)
            raise DataError(f"{where}: no column {column!r}; columns are {present}")
    if not len(split):
        raise DataError(f"{where}: no examples; a split needs at least one")
    columns = [list(split[column]) for column in hub.text_columns]
    texts = tuple(tuple(row) for row in zip(*columns, strict=True))
    for row, strings in enumerate(texts):
        # A missing text is None.
        if not all(isinstance(text, str) for text in strings):
            raise DataError(f"{where}, row {row}: a text must be a string, got {strings!r}")
    labels = tuple(
        _convert_label(value, task, f"{where}, row {row}")
        for row, value in enumerate(split[hub.label_column])
    )
    return Examples(inputs=texts, labels=labels)


def _convert_label(value: object, task: Task, where: str) -> float:
    if task.is_regression:
        if not isinstance(value, int | float) or not is_valid_score(value):
            raise DataError(f"{where}: a score must be a finite number of float32, got {value!r}")
        # The hub stores float32. Rounded to seven digits, its values equal those in GLUE's files.
        return float(f"{value:.7g}")
    # A label that the hub hides is -1.
    if not isinstance(value, int) or not 0 <= value < task.num_labels:
        raise DataError(f"{where}: a class must be 0 to {task.num_labels - 1}, got {value!r}")
    return value
