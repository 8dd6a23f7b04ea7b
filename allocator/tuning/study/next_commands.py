"""The commands that go on with a study's result."""

from __future__ import annotations

import shlex
from pathlib import Path

from allocator.files.study_folder import ARTIFACTS_FOLDER
from allocator.tuning.storage.storage_url import (
    add_installed_driver,
    choose_storage_url,
    printable_url,
)
from allocator.tuning.study.study import SearchStudy

_PYTHON = ("python", "-m")


def list_next_commands(study: SearchStudy, recipe: Path, url: str) -> list[str]:
    """List commands that use the result, quoted for a shell; passwords are left out."""
    artifacts = str(study.folder / ARTIFACTS_FOLDER)
    commands = [
        # Without a driver in the URL, SQLAlchemy might choose one that is not installed.
        ["optuna-dashboard", printable_url(add_installed_driver(url)), "--artifact-dir", artifacts],
        [*_PYTHON, "allocator.train", "--config", str(recipe)],
        [*_PYTHON, "allocator.export", "--study", study.config.study],
    ]
    commands[-1] += ["--studies-dir", str(study.folder.parent)]
    if url != choose_storage_url(None, study.folder):
        commands[-1] += ["--storage", printable_url(url)]
    predict = [*_PYTHON, "allocator.predict", "--study", study.config.study]
    predict += ["--studies-dir", str(study.folder.parent)]
    given = "texts.txt" if study.config.task.text_columns else "paths.txt"
    return [*map(shlex.join, commands), f"{shlex.join(predict)} < {given}"]
