"""Read data sets of the Hugging Face hub or its cache, without long waits offline."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import datasets
from datasets.exceptions import DatasetsError

from allocator.data.formats.typed_files import keep_datasets_quiet
from allocator.data.formats.typed_split import TypedSplit
from allocator.data.tasks import Examples, HubLayout, Task
from allocator.errors import TaskError, UnknownNameError
from allocator.hub import NETWORK_ERRORS, find_hub_problem, first_line

GLUE_REPOSITORY = "nyu-mll/glue"

_PATIENCE = 4.0  # seconds to wait for the hub's first answer


def load_dataset_splits(
    repository: str,
    config: str | None = None,
    *,
    cache_dir: Path | None = None,
    patience: float = _PATIENCE,
) -> Mapping[str, TypedSplit]:
    """Load all splits of a data set with `datasets`.

    Args:
        repository: The data set's id on the hub, or a folder that `datasets.load_dataset` or
            `datasets.load_from_disk` reads.
        config: The name of its configuration; None if it has one only.
        cache_dir: Cache folder of `datasets`; None for its default.
        patience: Seconds to wait for the hub's first answer. If none comes, only the cache is read.

    Returns:
        The splits by their names.

    Raises:
        TaskError: If neither the hub nor its cache has the data set, or it cannot be read.
    """
    # A folder in the hub's layout is read without the network.
    is_folder = Path(repository).is_dir()
    reason = None if is_folder else find_hub_problem(patience)
    name = repository if config is None else f"{repository} ({config})"
    try:
        # A download may take minutes, and shows how far it is.
        loading = keep_datasets_quiet() if is_folder else contextlib.nullcontext()
        with _stay_offline() if reason else loading:
            splits = _load(repository, config, cache_dir)
    except (*NETWORK_ERRORS, DatasetsError, RuntimeError, StopIteration) as error:
        place = name if is_folder else f"{name} on the Hugging Face hub"
        if reason:
            raise TaskError(f"{place}: {reason}, and its cache has no copy") from error
        if several := re.search(r"available configs: \[(.*)\]", str(error)):
            raise TaskError(f"{place} has several subsets; name one: {several[1]}") from error
        # The error of a builder says less than what caused it.
        cause = error.__cause__ if isinstance(error, DatasetsError) else None
        raise TaskError(f"{place}: {first_line(cause or error)}") from error
    return {
        str(split): TypedSplit(table, f"{name}, split {split}") for split, table in splits.items()
    }


def find_split(splits: Mapping[str, TypedSplit], name: str, place: str) -> TypedSplit:
    """Find a split by its name.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in splits:
        raise UnknownNameError("split", name, splits, f" in {place}")
    return splits[name]


def load_hub_splits(
    hub: HubLayout,
    *,
    task: Task,
    repository: str = GLUE_REPOSITORY,
    cache_dir: Path | None = None,
    patience: float = _PATIENCE,
) -> tuple[Examples, Examples]:
    """Load train and dev of a task whose classes a data set numbers as the task does.

    Args:
        hub: Names of configuration, splits and columns in the data set.
        task: The labels that the data must have.
        repository: As for `load_dataset_splits`.
        cache_dir: As for `load_dataset_splits`.
        patience: As for `load_dataset_splits`.

    Raises:
        TaskError: If neither the hub nor its cache has the data.
        UnknownNameError: If the data set has other splits.
        DataError: If the data have other columns or labels than the task.
    """
    splits = load_dataset_splits(repository, hub.config, cache_dir=cache_dir, patience=patience)

    def read(name: str) -> Examples:
        split = find_split(splits, name, f"{repository} ({hub.config})")
        texts = split.read_texts(hub.text_columns)
        if task.is_regression:
            return Examples(inputs=texts, labels=split.read_scores(hub.label_column))
        return Examples(inputs=texts, labels=split.read_ids(hub.label_column, task.num_labels))

    return read(hub.train), read(hub.dev)


def _load(repository: str, config: str | None, cache_dir: Path | None) -> datasets.DatasetDict:
    # What `save_to_disk` writes is a copy of memory, which `load_dataset` does not always take.
    if (Path(repository) / "dataset_dict.json").is_file():
        return datasets.load_from_disk(repository)
    if (Path(repository) / "state.json").is_file():  # of one split alone
        return datasets.DatasetDict({"train": datasets.load_from_disk(repository)})
    return datasets.load_dataset(
        repository, config, cache_dir=None if cache_dir is None else str(cache_dir)
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
