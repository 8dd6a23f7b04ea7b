"""Lock a folder of results for one process, and check whether it holds other files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from allocator.errors import StudyError
from allocator.files.study_folder import LOCK_FILE


def holds_other_files(folder: Path, *own: str) -> bool:
    """Whether a folder holds files besides the lock and those that match a pattern.

    Args:
        folder: The folder, which may be missing.
        own: Patterns of the file names that are expected.
    """
    if not folder.exists():
        return False
    known = (LOCK_FILE, *own)
    return any(not any(map(path.match, known)) for path in folder.iterdir())


@contextlib.contextmanager
def lock_study_folder(folder: Path) -> Iterator[None]:
    """Lock an existing study folder for this process.

    Raises:
        StudyError: If another process has locked it.
    """
    lock = FileLock(folder / LOCK_FILE)
    try:
        # Without waiting, because another search may take hours.
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise StudyError(
            f"study {folder.name!r} is being searched by another process; wait for it, "
            "or name another study with --study"
        ) from None


@contextlib.contextmanager
def create_and_lock_study_folder(folder: Path) -> Iterator[None]:
    """Create a study folder if it is missing, and lock it for this process.

    Raises:
        StudyError: If another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_study_folder(folder):
        yield
