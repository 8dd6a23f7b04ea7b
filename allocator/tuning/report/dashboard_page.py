"""A study's page on optuna-dashboard: a note, figures, and files to download."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
import plotly.graph_objects as go
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact

_SIGNATURE = "(written by allocator, and anew after every search)"
"""Last line of the notes that may be replaced; a note that a person wrote lacks it."""


def write_dashboard_page(
    study: optuna.Study,
    note: str,
    figures: Mapping[str, go.Figure],
    files: Sequence[Path],
    artifacts: Path,
) -> bool:
    """Write a study's page on optuna-dashboard, replacing an earlier one.

    Args:
        study: The study.
        note: The note, as GitHub's Markdown. A note that a person wrote is left as it is.
        figures: Figures by name.
        files: Files to download.
        artifacts: Folder for copies of the files, as for `optuna-dashboard --artifact-dir`.

    Returns:
        Whether the note was written.
    """
    with warnings.catch_warnings():
        # The dashboard takes seconds to import, so it is imported only here; some of its modules
        # use deprecated parts of PyTorch.
        warnings.simplefilter("ignore", DeprecationWarning)
        from optuna_dashboard import (  # noqa: PLC0415
            get_note,
            save_note,
            save_plotly_graph_object,
        )
    for name, figure in figures.items():
        save_plotly_graph_object(study, figure, graph_object_id=name)
    _store_files(study, files, artifacts)
    known = get_note(study)
    is_ours = not known or known.rstrip().endswith(_SIGNATURE)
    if is_ours:
        save_note(study, f"{note}\n\n{_SIGNATURE}\n")
    return is_ours


def _store_files(study: optuna.Study, files: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    store = FileSystemArtifactStore(folder)
    known = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(study)}
    for path in files:
        if path.name in known:  # under the same id, so that the page lists it once
            with path.open("rb") as content:
                store.write(known[path.name], content)
        else:
            upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=study)
