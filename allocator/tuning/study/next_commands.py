"""The commands that go on with a study's result."""

from __future__ import annotations

import shlex
from pathlib import Path

from allocator.files.study_folder import ARTIFACTS_FOLDER, STUDIES_FOLDER
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
    # Where a study is looked for by default need not be said.
    place = study.folder.parent
    elsewhere = [] if place == STUDIES_FOLDER else ["--studies-dir", str(place)]
    commands[-1] += elsewhere
    if url != choose_storage_url(None, study.folder):
        commands[-1] += ["--storage", printable_url(url)]
    predict = shlex.join([*_PYTHON, "allocator.predict", "--study", study.config.study, *elsewhere])
    columns = study.config.task.text_columns
    given = "< texts.txt" if columns else "< paths.txt"
    # A table is plainer than a TAB between two texts.
    return [
        *map(shlex.join, commands),
        f"{predict} {given if len(columns) < 2 else '--input pairs.csv'}",
    ]
