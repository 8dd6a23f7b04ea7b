"""Keeps a folder of results to one process, and tells whether it is somebody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from allocator.errors import StudyError

_LOCK_FILE = ".lock"


def holds_other_files(folder: Path, *own: str) -> bool:
    """Tell whether a folder has anything in it but a lock and what some patterns name.

    Args:
        folder: It may be missing.
        own: Patterns of the names that may be there.
    """
    if not folder.exists():
        return False
    known = (_LOCK_FILE, *own)
    return any(not any(map(path.match, known)) for path in folder.iterdir())


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep a study's folder, which must be there, to this process.

    Raises:
        StudyError: If another process has it.
    """
    lock = FileLock(folder / _LOCK_FILE)
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise StudyError(
            f"study {folder.name!r} is being searched by another process; wait for it, "
            "or name another study with --study"
        ) from None
