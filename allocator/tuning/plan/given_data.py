"""Examples in memory, written as a task file that workers and later runs read."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import TypeAlias

import datasets
import dill
import pandas as pd
import yaml

from allocator.data.formats.typed_files import keep_datasets_quiet
from allocator.errors import DataError, TaskError
from allocator.files.whole_files import move_folder
from allocator.hub import first_line

Data: TypeAlias = (
    datasets.Dataset
    | pd.DataFrame
    | Sequence[Mapping[str, object]]
    | Mapping[str, Sequence[object]]
)
"""Examples as columns with names."""

GivenMetric = str | Callable[..., object]
"""A metric by its name, or a function of predictions and labels."""

_TASK_FILE, _FUNCTION_FILE = "task.yaml", "metric.dill"
_FUNCTION_MODULE = '''"""A function that was given in Python, as it was then."""

from pathlib import Path

import dill

{name} = dill.loads((Path(__file__).parent / "{file}").read_bytes())
'''


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
        "metric": metric if isinstance(metric, str) else None,
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
            content["metric"] = _keep_function(metric, whole)
        said = {key: value for key, value in content.items() if value is not None}
        (whole / _TASK_FILE).write_text(yaml.safe_dump(said, sort_keys=False), "utf-8")
        # A task's name may be a path, and a folder's name cannot have separators.
        plain = re.sub(r"[^\w.-]+", "-", name)
        own = folder / f"{plain}-{_hash_content(whole, tables)}"
        move_folder(whole, own)
    return own / _TASK_FILE


def _select_columns(key: str, data: Data, columns: Sequence[str]) -> datasets.Dataset:
    try:
        table = _make_table(data)
    except Exception as error:  # pyarrow has many kinds
        raise DataError(f"{key} is no table of named columns: {first_line(error)}") from error
    for column in columns:
        if column not in table.column_names:
            present = ", ".join(map(repr, table.column_names)) or "none"
            raise DataError(f"{key}: no column {column!r}; columns are {present}")
    return table.select_columns(list(columns))


def _make_table(data: Data) -> datasets.Dataset:
    if isinstance(data, pd.DataFrame):
        return datasets.Dataset.from_pandas(data, preserve_index=False)
    if isinstance(data, Mapping):
        return datasets.Dataset.from_dict({name: list(values) for name, values in data.items()})
    if isinstance(data, datasets.Dataset):
        return data
    return datasets.Dataset.from_list(list(map(dict, data)))


def _keep_function(function: Callable[..., object], folder: Path) -> str:
    """Return a function's name for a task file; write the function down if it has none."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__name__", "metric")
    # What a script or a notebook defines cannot be imported by a worker.
    if module and module != "__main__" and _is_importable(module, name, function):
        return f"{module}:{name}"
    name = name if name.isidentifier() else "metric"
    try:
        kept = dill.dumps(_forget_place(function), recurse=True)
    except Exception as error:  # whatever it holds
        raise TaskError(f"metric {name} cannot be written down: {first_line(error)}") from error
    (folder / _FUNCTION_FILE).write_bytes(kept)
    module_text = _FUNCTION_MODULE.format(name=name, file=_FUNCTION_FILE)
    (folder / "metric.py").write_text(module_text, "utf-8")
    return f"metric.py:{name}"


def _forget_place(function: Callable[..., object]) -> Callable[..., object]:
    """Copy a function without its file and line, which differ each time that a cell is run."""
    if not isinstance(function, FunctionType):
        return function
    code = _forget_file(function.__code__)
    copied = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def _forget_file(code: CodeType) -> CodeType:
    inner = tuple(_forget_file(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=_TASK_FILE, co_firstlineno=1, co_consts=inner)


def _is_importable(module: str, name: str, function: object) -> bool:
    try:
        found = sys.modules.get(module) or importlib.import_module(module)
    except ImportError:
        return False
    return getattr(found, name, None) is function


def _hash_content(folder: Path, tables: Mapping[str, datasets.Dataset]) -> str:
    digest = hashlib.sha256((folder / _TASK_FILE).read_bytes())
    if (folder / _FUNCTION_FILE).exists():
        digest.update((folder / _FUNCTION_FILE).read_bytes())
    for table in tables.values():  # not the Parquet files, which are of the version that wrote them
        digest.update(str(table.features).encode())
        for row in table:
            digest.update(json.dumps(row, default=str).encode())
    return digest.hexdigest()[:8]
