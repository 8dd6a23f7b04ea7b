"""Examples in memory, written as a task file that workers and later runs read."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import datasets
import pandas as pd
import yaml

from allocator.data.formats.typed_files import keep_datasets_quiet
from allocator.data.scoring.metric_names import resolve_metric
from allocator.errors import DataError
from allocator.files.whole_files import move_folder
from allocator.hub import first_line
from allocator.tuning.plan.given_metric import GivenMetric, describe_function, keep_function

Data: TypeAlias = (
    datasets.Dataset
    | pd.DataFrame
    | Sequence[Mapping[str, object]]
    | Mapping[str, Sequence[object]]
)
"""Examples as columns with names."""

_TASK_FILE = "task.yaml"


def write_given_task(
    name: str,
    train: Data,
    dev: Data | None,
    *,
    text: Sequence[str],
    label: Sequence[str],
    classes: Sequence[str] | None,
    regression: bool,
    metric: GivenMetric | None,
    folder: Path,
) -> Path:
    """Write examples and a task file into a folder that is named by the task and its content.

    Args:
        name: Name of the task.
        train: Examples to train on.
        dev: Examples that the final model is scored on; None to hold a part of train out.
        text: Columns of the texts.
        label: Column of the class or the score, or of the labels if an example has several.
        classes: As in a task file.
        regression: As in a task file.
        metric: As in a task file, or a function; None for the default.
        folder: Folder for all tasks.

    Returns:
        The task file. One that exists has the same content.

    Raises:
        DataError: If the examples cannot be written as a table, or lack a column.
        TaskError: If the metric's function cannot be kept.
    """
    splits = {"train": train} if dev is None else {"train": train, "dev": dev}
    columns = tuple(dict.fromkeys((*text, *label)))
    tables = {key: _select_columns(key, data, columns) for key, data in splits.items()}
    content: dict[str, object] = {
        "name": name,
        **{key: f"{key}.parquet" for key in tables},
        "text": list(text),
        "label": label[0] if len(label) == 1 else list(label),
        "metric": resolve_metric(metric, Path.cwd()) if isinstance(metric, str) else None,
        "classes": None if classes is None else list(map(str, classes)),
        "regression": regression,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as made:
        whole = Path(made) / "whole"
        whole.mkdir()
        with keep_datasets_quiet():
            for key, table in tables.items():
                table.to_parquet(str(whole / f"{key}.parquet"))
        if metric is not None and not isinstance(metric, str):
            content["metric"] = keep_function(metric, whole)
        said = {key: value for key, value in content.items() if value is not None}
        (whole / _TASK_FILE).write_text(yaml.safe_dump(said, sort_keys=False), "utf-8")
        # A task's name may be a path, and a folder's name cannot have separators.
        plain = re.sub(r"[^\w.-]+", "-", name)
        own = folder / f"{plain}-{_hash_content(said, tables, metric)}"
        move_folder(whole, own)
    return own / _TASK_FILE


def _select_columns(key: str, data: Data, columns: Sequence[str]) -> datasets.Dataset:
    """Select columns before anything is converted, as others may hold what no table can."""
    try:
        present = _list_columns(data)
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{key} is no table of named columns: {first_line(error)}") from error
    for column in columns:
        if column not in present:
            shown = ", ".join(map(repr, present)) or "none"
            raise DataError(f"{key}: no column {column!r}; columns are {shown}")
    try:
        return _make_table(data, columns)
    except Exception as error:  # pyarrow has many kinds
        raise DataError(f"{key} is no table of named columns: {first_line(error)}") from error


def _list_columns(data: Data) -> list[str]:
    if isinstance(data, datasets.Dataset):
        return list(data.column_names)
    if isinstance(data, pd.DataFrame | Mapping):
        return list(data)
    return list(dict.fromkeys(name for row in data for name in dict(row)))


def _make_table(data: Data, columns: Sequence[str]) -> datasets.Dataset:
    if isinstance(data, datasets.Dataset):
        return data.select_columns(list(columns))
    if isinstance(data, pd.DataFrame):
        return datasets.Dataset.from_pandas(data[list(columns)], preserve_index=False)
    if isinstance(data, Mapping):
        return datasets.Dataset.from_dict({name: list(data[name]) for name in columns})
    return datasets.Dataset.from_list([{name: row.get(name) for name in columns} for row in data])


def _hash_content(
    said: Mapping[str, object],
    tables: Mapping[str, datasets.Dataset],
    metric: GivenMetric | None,
) -> str:
    """Hash what is said, not the files, whose bytes depend on the versions that write them."""
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    digest.update(describe_function(metric).encode() if callable(metric) else b"")
    for table in tables.values():
        digest.update(str(table.features).encode())
        for row in table:
            digest.update(json.dumps(row, default=str).encode())
    return digest.hexdigest()[:8]
