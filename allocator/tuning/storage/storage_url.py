"""Open the storage of a study, and format its URL without anything secret."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from urllib.parse import unquote

import optuna
from optuna.storages import BaseStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from allocator.errors import StorageError
from allocator.files.study_folder import DATABASE_FILE

_SCHEME = re.compile(r"[a-z][a-z0-9_+]*://", re.IGNORECASE)
_USER, _HOST, _DATABASE = r"[\w.@-]*", r"[\w.:-]*", r"[\w.-]*"  # names that cannot hide a password
_DRIVERS = ("psycopg2", "psycopg")
_USUAL_PORTS = (None, 3306, 5432)  # those of MySQL and PostgreSQL
_INSTALL = "run: pip install 'allocator[postgresql]'"
# Exceptions of SQLAlchemy, of a driver or of Optuna for a URL that cannot be used.
_REFUSALS = (
    SQLAlchemyError,
    optuna.exceptions.StorageInternalError,
    *(ValueError, TypeError, LookupError, AttributeError, OSError),
)


def choose_storage_url(given: str | None, folder: Path) -> str:
    """Return the URL of a study's storage: the one given, or a file in the study's folder.

    Raises:
        StorageError: If the folder's name cannot be part of a URL.
    """
    try:
        return given or _render(URL.create("sqlite", database=str(folder / DATABASE_FILE)))
    except UnicodeEncodeError:
        raise StorageError(
            f"the folder of a study must have a name in UTF-8, got {str(folder)!a}; "
            "give another --studies-dir"
        ) from None


def printable_url(url: str) -> str:
    """Format a storage URL for people to read, without anything that may be secret.

    The result consists of dialect and driver, user, host, port and database, or of the path of a
    file. If one of these might be part of a password, the result is the scheme alone.
    """
    scheme, parsed = _SCHEME.match(url), _parse(url)
    if scheme is None:
        return "..."
    if parsed is None or not _is_plain(parsed):
        return f"{scheme[0]}..."
    return _render(
        URL.create(
            parsed.drivername,
            username=parsed.username,
            host=parsed.host,
            port=parsed.port,
            database=parsed.database,
        )
    )


def add_installed_driver(url: str) -> str:
    """Add an installed driver to a PostgreSQL URL that names none.

    For such a URL SQLAlchemy chooses a driver without checking that it is installed: psycopg 3 from
    SQLAlchemy 2.1 on, psycopg2 before.

    Raises:
        StorageError: If none is installed.
    """
    parsed = _parse(url)
    if parsed is None or parsed.drivername not in ("postgresql", "postgres"):
        return url
    for name in _DRIVERS:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return _render(parsed.set(drivername=f"postgresql+{name}"))
    raise StorageError(
        f"storage {printable_url(url)} needs a driver, {' or '.join(_DRIVERS)}, and none is "
        f"installed; {_INSTALL}"
    )


def require_url(url: str) -> URL:
    """Parse the URL of a storage.

    Raises:
        StorageError: If it is malformed.
    """
    parsed = _parse(url)
    if parsed is None:
        raise StorageError(
            f"storage {printable_url(url)} cannot be parsed reliably; give a URL such as "
            "postgresql://user@host/db or sqlite:///study.db, with %40 %3A %2F %3F for @ : / ? in "
            "its parts"
        )
    return parsed


def has_storage(url: str) -> bool:
    """Whether there is something to connect to: any server, but only a file that exists.

    Raises:
        StorageError: If the URL is malformed.
    """
    parsed = require_url(url)
    return not _is_file(parsed) or Path(parsed.database or "").is_file()


def open_storage(url: str) -> BaseStorage:
    """Connect to a storage.

    Raises:
        StorageError: If it does not answer, its URL is malformed, or its driver is not installed.
    """
    shown, parsed = printable_url(url), require_url(add_installed_driver(url))
    try:
        # Rendered again, because Optuna would treat braces in the URL as placeholders.
        return optuna.storages.get_storage(_render(parsed))
    except ImportError as problem:
        # Optuna raises an error of its own, from the driver's that names the missing module.
        name = getattr(problem.__cause__, "name", None) or parsed.drivername
        way_out = "install it with pip"
        if parsed.get_backend_name() == "postgresql":
            way_out += f", or name none and {_INSTALL}"
        raise StorageError(
            f"storage {shown} needs a driver that is not installed: {name}; {way_out}"
        ) from None
    except _REFUSALS as problem:
        # Optuna wraps SQLAlchemy's exception, which keeps the driver's in `orig`.
        cause = problem.__cause__ or problem
        reason = str(getattr(cause, "orig", cause)).strip().split("\n")[0]
        if not _is_safe(reason, url, parsed):
            reason = "the reason is not shown, as it may hold a secret"
        raise StorageError(
            f"storage {shown} does not answer: {reason}; check --storage, and that it runs"
        ) from None


def _render(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _parse(url: str) -> URL | None:
    """Parse a URL; None if it is malformed, or if it is unclear where its password ends."""
    try:
        url.encode()  # a command line may hold bytes that are not UTF-8
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is not a number
        return None
    # A second @ may belong to the password or follow it, and the rest would be shown as the host.
    is_certain = url.count("@") == (0 if parsed.username is None else 1)
    # The path of a file holds no password, however many @ it has.
    return parsed if is_certain or _is_file(parsed) else None


def _is_file(url: URL) -> bool:
    is_local = url.username is None and url.host is None and url.port is None
    return is_local and url.get_backend_name() == "sqlite"


def _is_plain(url: URL) -> bool:
    """Whether user, host and database are plain names, so that none can hold a password."""
    # `user:12345` without a host would be parsed as a host and a port.
    if url.username is None and url.port not in _USUAL_PORTS:
        return False
    parts = ((_USER, url.username), (_HOST, url.host), (_DATABASE, url.database))
    return _is_file(url) or all(re.fullmatch(rule, part or "") for rule, part in parts)


def _is_safe(reason: str, url: str, parsed: URL) -> bool:
    """Whether an error's text holds nothing of the URL beyond what `printable_url` shows."""
    shown = printable_url(url)
    values = (v for value in parsed.normalized_query.values() for v in value)
    hidden = {*_split_words(url), *_split_words(unquote(url)), parsed.password or "", *values}
    # What is shown anyway is no secret.
    hidden -= {*_split_words(shown), *_split_words(unquote(shown)), ""}
    known = reason.casefold()
    return "..." not in shown and all(h.isascii() and h.casefold() not in known for h in hidden)


def _split_words(text: str) -> list[str]:
    return re.split(r"[^\w.-]+", text)
