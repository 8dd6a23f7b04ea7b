"""Storages that answer, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from allocator.errors import StorageError
from allocator.tuning.storage import open_storage, storage_url, without_password


def test_the_default_storage_is_a_file_in_the_studys_folder(tmp_path: Path) -> None:
    url = storage_url(None, tmp_path)
    optuna.create_study(storage=open_storage(url), study_name="s")
    assert (tmp_path / "study.db").is_file()


def test_a_given_storage_is_taken(tmp_path: Path) -> None:
    assert storage_url("sqlite:///elsewhere.db", tmp_path) == "sqlite:///elsewhere.db"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
        ("nonsense", "storage URL"),
        ("nosuch://host/db", "nosuch"),
    ],
)
def test_a_storage_that_does_not_answer_is_one_line(url: str, reason: str) -> None:
    with pytest.raises(StorageError) as error:
        open_storage(url)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_password_is_never_shown() -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/db"
    assert "s3cret" not in without_password(url)
    with pytest.raises(StorageError) as error:
        open_storage(url)
    assert "s3cret" not in str(error.value)
    assert "127.0.0.1" in str(error.value)
