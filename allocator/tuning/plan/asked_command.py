"""The command that asks for a configuration, for people who want to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from allocator.config import Config, Option, TrainingConfig
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.storage.storage_url import printable_url


def write_search_command(config: SearchConfig) -> str:
    """Write the command of a search, quoted for a shell, with the options that are no defaults.

    The URL of a storage is written without what may be secret.
    """
    return shlex.join(["python", "-m", "allocator.search", *_list_words(config)])


def _list_words(config: Config) -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, TrainingConfig):
            yield from _list_words(value)
        is_option = any(isinstance(entry, Option) for entry in field.metadata)
        if is_option and (field.is_required() or value != field.default):
            yield from _write_option(name, value)


def _write_option(name: str, value: object) -> Iterator[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        yield flag
    elif name == "start" and isinstance(value, tuple):  # may be repeated
        for path in value:
            yield from (flag, str(path))
    elif isinstance(value, tuple):
        yield from (flag, ",".join(map(str, value)) or "none")
    else:
        yield from (flag, printable_url(str(value)) if name == "storage" else str(value))
