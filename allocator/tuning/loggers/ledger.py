"""What of a study has been logged, so that a resumed study logs nothing twice."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from allocator.files.whole_files import write_whole
from allocator.tuning.loggers.logger import LoggedRun, ResultTable


class _LoggedUntil(BaseModel):
    """How far a run has been logged: its name, its last boundary, and whether it has ended."""

    name: str
    step: int = 0
    has_ended: bool = False


class _Place(BaseModel):
    """What has been logged to one destination."""

    runs: dict[str, _LoggedUntil] = Field(default_factory=dict)
    table: str | None = None


class _Content(BaseModel):
    identity: str = Field(default_factory=lambda: secrets.token_hex(4))
    destinations: dict[str, _Place] = Field(default_factory=dict)


class Ledger:
    """What one logger has logged of a study, in a file of the study's folder.

    Args:
        path: The file; a missing or damaged one means that nothing has been logged.

    Attributes:
        identity: What tells the study from others of the same name on the same server.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._content = path, _read(path)
        self._place = _Place()
        self.identity = self._content.identity

    def open(self, destination: str) -> None:
        """Choose the destination that is recorded from now on."""
        self._place = self._content.destinations.setdefault(destination, _Place())

    def find_name(self, key: str) -> str | None:
        """Return the name under which a run was started; None if it was not."""
        run = self._place.runs.get(key)
        return None if run is None else run.name

    def has_ended(self, key: str) -> bool:
        """Whether a run was logged to its end."""
        run = self._place.runs.get(key)
        return run is not None and run.has_ended

    def has_step(self, key: str, step: int) -> bool:
        """Whether a boundary of a run was logged."""
        run = self._place.runs.get(key)
        return run is not None and step <= run.step

    def has_table(self, table: ResultTable) -> bool:
        """Whether the table that was logged last is this one."""
        return self._place.table == _digest(table)

    def forget(self, key: str) -> None:
        """Forget a run that is not at its destination any more."""
        self._place.runs.pop(key, None)

    def record_start(self, run: LoggedRun) -> None:
        """Record that a run was started, or goes on under another name."""
        self._place.runs.setdefault(run.key, _LoggedUntil(name=run.name)).name = run.name
        self._write()

    def record_step(self, key: str, step: int) -> None:
        """Record that a run was logged up to a boundary."""
        self._place.runs[key].step = step
        self._write()

    def record_end(self, key: str) -> None:
        """Record that a run was logged to its end."""
        self._place.runs[key].has_ended = True
        self._write()

    def record_table(self, table: ResultTable) -> None:
        """Record that a table was logged."""
        self._place.table = _digest(table)
        self._write()

    def _write(self) -> None:
        write_whole(self._path, self._content.model_dump_json(indent=1).encode())


def _read(path: Path) -> _Content:
    if not path.exists():
        return _Content()
    try:
        return _Content.model_validate_json(path.read_bytes())
    except ValidationError:
        return _Content()


def _digest(table: ResultTable) -> str:
    return hashlib.sha256(table.to_csv().encode()).hexdigest()
