"""A logger that keeps in memory what a server would keep, and that can fail or hang."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.tuning.loggers.logger import LoggedRun, Outcome, ResultTable


@dataclass(slots=True)
class Stored:
    """What a server has of a run."""

    run: LoggedRun
    points: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    outcome: Outcome | None = None


@dataclass(slots=True)
class Server:
    """What outlives the processes that log to it.

    Attributes:
        runs: The runs by key.
        tables: The tables, in the order in which they were logged.
        left: Number of calls that it still answers; it then refuses all.
        is_waiting: Whether it answers, or lets everybody wait.
    """

    runs: dict[str, Stored] = field(default_factory=dict)
    tables: list[ResultTable] = field(default_factory=list)
    left: float = math.inf
    is_answering: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Answer at once, unless a test says otherwise."""
        self.is_answering.set()

    def count(self) -> None:
        """Count a call."""
        self.is_answering.wait()
        if not self.left:
            raise ConnectionError("connection refused")
        self.left -= 1


class MemoryLogger:
    """A logger of one process."""

    destination = address = "memory"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open: dict[str, Stored] = {}

    def has_run(self, key: str, name: str) -> bool:
        """Whether the server has the run, under this name."""
        return key in self._server.runs and self._server.runs[key].run.name == name

    def start(self, run: LoggedRun, *, earlier: str | None) -> None:
        """Start a run; one that the server has must be said to be known."""
        self._server.count()
        assert (earlier is not None) == (run.key in self._server.runs)
        stored = self._server.runs.setdefault(run.key, Stored(run))
        stored.run = run
        self._open[run.key] = stored

    def log(self, key: str, step: int, values: Mapping[str, float]) -> None:
        """Add a point, whether or not there is one."""
        self._server.count()
        self._open[key].points.append((step, dict(values)))

    def end(self, key: str, outcome: Outcome) -> None:
        """End a run that has not ended."""
        self._server.count()
        assert self._open[key].outcome is None
        self._open.pop(key).outcome = outcome

    def log_table(self, table: ResultTable) -> None:
        """Add a table."""
        self._server.count()
        self._server.tables.append(table)

    def close(self) -> None:
        """Forget the runs that have not ended."""
        self._open.clear()
