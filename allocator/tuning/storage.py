"""Opens the storage that keeps a study, and says why where it cannot."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from allocator.errors import StorageError


def storage_url(given: str | None, folder: Path) -> str:
    """Give the URL of a study's storage: the one given, or a file in the study's folder."""
    return given or f"sqlite:///{folder / 'study.db'}"


def without_password(url: str) -> str:
    """Write a storage URL for people to read."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "storage URL (not shown, it cannot be parsed)"


def open_storage(url: str) -> BaseStorage:
    """Connect to a storage.

    Raises:
        StorageError: If it does not answer, its URL is malformed, or its driver is not installed.
    """
    shown = without_password(url)
    try:
        return optuna.storages.get_storage(url)
    except ImportError as problem:
        raise StorageError(
            f"storage {shown} needs a driver that is not installed: {problem.name or problem}; "
            "for PostgreSQL run: pip install psycopg2-binary"
        ) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ValueError) as problem:
        cause = problem.__cause__ or problem
        reason = str(getattr(cause, "orig", cause)).strip().splitlines()[0]
        password = _password(url)
        if password:
            reason = reason.replace(password, "***")
        raise StorageError(
            f"storage {shown} does not answer: {reason}; check --storage, and that it runs"
        ) from None


def _password(url: str) -> str | None:
    try:
        return make_url(url).password
    except ArgumentError:
        return url
