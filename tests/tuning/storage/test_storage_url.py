"""Storages that answer, and what is said of those that do not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import optuna
import pytest

from allocator.errors import StorageError
from allocator.files.study_folder import DATABASE_FILE
from allocator.tuning.storage.storage_url import (
    add_installed_driver,
    choose_storage_url,
    open_storage,
    printable_url,
)

SECRET = "s3cr3t"


def refusal(url: str) -> str:
    """Open a storage that must be refused in one line, which shows no secret, and give the line."""
    with pytest.raises(StorageError) as error:
        open_storage(url)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    assert SECRET not in printable_url(url)
    return str(error.value)


def test_the_default_storage_is_a_file_in_the_studys_folder(tmp_path: Path) -> None:
    url = choose_storage_url(None, tmp_path)
    optuna.create_study(storage=open_storage(url), study_name="s")
    assert (tmp_path / DATABASE_FILE).is_file()


def test_a_plain_folders_url_is_its_path() -> None:
    url = choose_storage_url(None, Path("studies/cola-minilm-40000"))
    assert url == "sqlite:///studies/cola-minilm-40000/study.db"


@pytest.mark.parametrize(
    "name", ["what?", "a?b=c&d", "#1", "50%", "%41", "{0}", "{x", "a b", "me@home", "größe", "x:y"]
)
def test_a_folder_of_any_name_keeps_its_file(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    url = choose_storage_url(None, folder)
    assert printable_url(url) == url
    optuna.create_study(storage=open_storage(url), study_name="s")
    assert [path.name for path in folder.iterdir()] == [DATABASE_FILE]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert optuna.get_all_study_names(open_storage(url)) == ["s"]
    assert optuna.get_all_study_names(url) == ["s"]  # as other commands read it


def test_a_folder_whose_name_is_not_utf8_is_refused() -> None:
    message = r"^the folder of a study must have a name in UTF-8, got 'caf\\udce9'; give another"
    with pytest.raises(StorageError, match=message):
        choose_storage_url(None, Path("caf\udce9"))


def test_a_given_storage_is_taken(tmp_path: Path) -> None:
    assert choose_storage_url("sqlite:///elsewhere.db", tmp_path) == "sqlite:///elsewhere.db"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
        ("sqlite://host/study.db", "Invalid SQLite URL"),
        ("nosuch://host/db", "nosuch"),
        ("postgresql://me@127.0.0.1:1/db", "Connection refused"),
        ("postgresql://me@127.0.0.1:99999/db", 'invalid port number: "99999"'),
        ("postgresql://me@nowhere.invalid/db", 'could not translate host name "nowhere.invalid"'),
        ("redis://host/0", "RedisStorage is removed"),
    ],
)
def test_a_storage_that_does_not_answer_is_one_line(url: str, reason: str) -> None:
    assert f"storage {url} does not answer: " in refusal(url)
    assert reason in refusal(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        (f"postgresql://user:{SECRET}@host:5432/db", "postgresql://user@host:5432/db"),
        (f"postgresql+psycopg2://user:{SECRET}@host/db", "postgresql+psycopg2://user@host/db"),
        (f"postgresql://user:{SECRET}%40%2F@host/db", "postgresql://user@host/db"),
        (f"postgresql://user:a/{SECRET}?@host/db", "postgresql://user@host/db"),
        (f"postgresql://user@host/db?password={SECRET}", "postgresql://user@host/db"),
        (f"postgresql://us%40er:{SECRET}@[::1]:1/db", "postgresql://us%40er@[::1]:1/db"),
        (f"mysql://user:{SECRET}@host/db?ssl_key={SECRET}", "mysql://user@host/db"),
        (f"sqlite:///a/b.db?key={SECRET}", "sqlite:///a/b.db"),
        ("sqlite:////home/me@work/a@b.db", "sqlite:////home/me%40work/a%40b.db"),
        # Where a password ends cannot be told.
        (f"postgresql://user:se@{SECRET}@host/db", "postgresql://..."),
        (f"postgresql://user:a@b/{SECRET}@host/db", "postgresql://..."),
        (f"postgresql://user:a@b?{SECRET}@host/db", "postgresql://..."),
        (f"postgresql:///user:{SECRET}@host/db", "postgresql://..."),
        (f"postgresql://user:{SECRET}/db", "postgresql://..."),
        ("postgresql://user:12345/db", "postgresql://..."),  # a password, but for its host
        (f"postgresql://user:{SECRET}@host:notaport/db", "postgresql://..."),
        (f"postgresql://user:{SECRET}@[::1/db", "postgresql://..."),
        (f"postgresql://user%3A{SECRET}@host/db", "postgresql://..."),
        (f"postgresql://host/db;password={SECRET}", "postgresql://..."),
        (f"postgresql://host/db%20password={SECRET}", "postgresql://..."),
        (f"user:{SECRET}@host/db", "..."),
        (f"user:{SECRET}@postgresql://host/db", "..."),
        ("nonsense", "..."),
        ("", "..."),
    ],
)
def test_of_a_url_only_what_is_certain_to_be_no_secret_is_shown(url: str, shown: str) -> None:
    assert printable_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:se@{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}@host:notaport/db",
        f"postgresql://user:{SECRET}@[::1/db",
        f"postgresql:///user:{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}\udce9@127.0.0.1:1/db",
        f"{SECRET}",
    ],
)
def test_a_url_that_cannot_be_read_for_certain_is_not_opened(url: str) -> None:
    line = refusal(url)
    assert "cannot be parsed reliably; give a URL such as postgresql://user@host/db" in line


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}@nowhere.invalid/db",
        f"postgresql://user:{SECRET}%00@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}{{0}}{{x}}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}@h{{x}}/db",
        f"postgresql://user@127.0.0.1:1/db?password={SECRET}",
        f"postgresql://user@127.0.0.1:1/db?{SECRET}=1",
        f"postgresql://user@127.0.0.1:1/db?sslmode={SECRET}",
        f"postgresql://user@127.0.0.1:1/db?executemany_mode={SECRET}",
        f"postgresql://user@127.0.0.1:1/db?a=1&a={SECRET}",
        f"postgresql://user@127.0.0.1:1/db?host=a:b:{SECRET}",
        f"postgresql://user@127.0.0.1:1/db?plugin={SECRET}",
        f"postgresql://127.0.0.1:1/dbname=x password={SECRET}",
        f"postgresql+psycopg2://user:{SECRET}@127.0.0.1:1/db",
        f"sqlite:///study.db?timeout={SECRET}",
        f"sqlite://user:{SECRET}@host/study.db",
        f"redis://:{SECRET}@host/0",
        f"nosuch://user:{SECRET}@host/db",
    ],
)
def test_no_refusal_shows_a_secret(url: str) -> None:
    assert re.match(r"storage \S+ does not answer: .+; check --storage", refusal(url))


def test_a_reason_that_holds_something_hidden_is_dropped() -> None:
    line = refusal("postgresql://user:refused@127.0.0.1:1/db")
    assert "does not answer: the reason is not shown, as it may hold a secret; check" in line


def test_a_postgresql_url_without_a_driver_takes_the_one_that_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "postgresql://user:p%40ss@host/db"
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    monkeypatch.setitem(sys.modules, "psycopg", sys)
    assert add_installed_driver(url) == "postgresql+psycopg://user:p%40ss@host/db"
    monkeypatch.setitem(sys.modules, "psycopg2", sys)
    assert add_installed_driver(url) == "postgresql+psycopg2://user:p%40ss@host/db"
    assert add_installed_driver("postgres://host/db") == "postgresql+psycopg2://host/db"
    for named in ("postgresql+psycopg://host/db", "mysql://host/db", "sqlite:///a.db", "nonsense"):
        assert add_installed_driver(named) == named


def test_without_a_driver_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("psycopg2", "psycopg"):
        monkeypatch.setitem(sys.modules, name, None)
    assert refusal(f"postgresql://user:{SECRET}@host/db") == (
        "storage postgresql://user@host/db needs a driver, psycopg2 or psycopg, and none is "
        "installed; run: pip install 'allocator[postgresql]'"
    )


def test_a_named_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert refusal(f"postgresql+psycopg://user:{SECRET}@host/db") == (
        "storage postgresql+psycopg://user@host/db needs a driver that is not installed: psycopg; "
        "install it with pip, or name none and run: pip install 'allocator[postgresql]'"
    )
