"""Files that appear whole or not at all, even if the process is killed while writing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path` and move it there, creating missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    # Not synchronised with the disk: this is for killed processes, not for power cuts.
    unfinished.write_bytes(content)
    os.replace(unfinished, path)  # atomic within one file system: readers see the old or the new


def hash_file(path: Path) -> str:
    """Compute the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_folder(made: Path, place: Path) -> None:
    """Move a folder that is complete to its place; one that is there already is left as it is."""
    try:
        os.replace(made, place)
    except OSError:
        if not place.is_dir():
            raise
