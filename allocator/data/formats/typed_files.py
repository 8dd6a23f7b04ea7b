"""Read files whose columns have types with `datasets`: Parquet, JSON, Arrow."""

from __future__ import annotations

import contextlib
import glob
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import datasets

from allocator.data.formats.typed_split import TypedSplit
from allocator.errors import DataError
from allocator.hub import first_line

_NO_ROWS = "corresponds to no data!"  # how `datasets` ends its message about a file without rows


def read_typed_file(path: Path, builder: str) -> TypedSplit:
    """Read a file with `datasets`.

    Args:
        path: The file.
        builder: The builder of `datasets` that reads its format: `parquet`, `json` or `arrow`.

    Raises:
        DataError: If the file cannot be read in that format.
    """
    try:
        # In a temporary folder, so that no copy of the data stays in the user's cache.
        with tempfile.TemporaryDirectory() as cache, keep_datasets_quiet():
            table = datasets.load_dataset(
                builder,
                data_files={"train": glob.escape(str(path))},  # taken for a pattern otherwise
                split="train",
                cache_dir=cache,
                keep_in_memory=True,
            )
    except Exception as error:  # an empty file of JSON raises StopIteration
        # The builder's own error says less than what caused it.
        reason = first_line(error.__cause__ or error)
        if reason.endswith(_NO_ROWS):
            raise DataError(f"{path}: no examples; a split needs at least one") from error
        raise DataError(f"{path} cannot be read as {builder}: {reason}") from error
    return TypedSplit(table, str(path))


@contextlib.contextmanager
def keep_datasets_quiet() -> Iterator[None]:
    """Keep `datasets` from drawing bars for what takes no time, and from logging what it raises."""
    showed, level = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if showed:
            datasets.enable_progress_bars()
