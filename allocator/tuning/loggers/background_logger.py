"""Log in a thread of its own, so that no server can hold up a search or end it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue

from allocator.hub import first_line
from allocator.tuning.loggers.ledger import Ledger
from allocator.tuning.loggers.logger import LoggedRun, Logger, Outcome, ResultTable

PATIENCE = 60.0
"""Seconds that the end of a command waits for what is still to be logged."""


class BackgroundLogger:
    """A logger whose calls return at once, log nothing twice, and never fail.

    What has been logged is passed over, so that a resumed study may simply log everything again.
    Once a call has failed, the user is warned and the others are left out; the next run of the same
    command logs them.

    Args:
        name: Name of the logger, as the user chose it.
        logger: The logger.
        ledger: What it has logged.
        warn: Shows a warning of one line.
        patience: Seconds that `close` waits.
    """

    def __init__(
        self,
        name: str,
        logger: Logger,
        ledger: Ledger,
        warn: Callable[[str], None],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._name, self._logger, self._ledger, self._warn = name, logger, ledger, warn
        self._patience = patience
        ledger.open(logger.destination)
        self._has_failed = False
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon, so that a server that does not answer does not keep the process alive.
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"log-{name}")
        self._thread.start()

    @property
    def description(self) -> str:
        """The logger's name, and where it logs to."""
        return f"{self._name:<10} {self._logger.address}"

    def start(self, run: LoggedRun) -> None:
        """Start a run, or go on with it, unless it has ended."""
        self._calls.put(partial(self._start, run))

    def log(self, key: str, step: int, values: Mapping[str, float]) -> None:
        """Log what a started run reached at a boundary, unless that was logged."""
        self._calls.put(partial(self._log, key, step, values))

    def end(self, key: str, outcome: Outcome) -> None:
        """End a started run, unless it has ended."""
        self._calls.put(partial(self._end, key, outcome))

    def log_table(self, table: ResultTable) -> None:
        """Log the final table, unless the same one was logged."""
        self._calls.put(partial(self._log_table, table))

    def close(self) -> None:
        """Wait until everything is logged, but not for ever."""
        self._calls.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._has_failed = True
            self._warn(
                f"{self._name} does not answer, and not all was logged; run the same command again "
                "to log what is missing"
            )

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if not self._has_failed:
                self._try(call)
        # Also after a failure, which may have been of one run alone.
        self._try(self._logger.close)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as problem:  # noqa: BLE001  # no package's error may cost a search
            if not self._has_failed:
                self._warn(
                    f"{self._name} failed ({type(problem).__name__}: {first_line(problem)}); the "
                    "run goes on without it, and the same command again logs what is missing"
                )
            self._has_failed = True

    def _start(self, run: LoggedRun) -> None:
        name = self._ledger.find_name(run.key)
        if name is not None and not self._logger.has_run(run.key, name):
            self._ledger.forget(run.key)
            name = None
        if not self._ledger.has_ended(run.key):
            self._logger.start(run, earlier=name)
            self._ledger.record_start(run)

    def _log(self, key: str, step: int, values: Mapping[str, float]) -> None:
        if not self._ledger.has_step(key, step) and not self._ledger.has_ended(key):
            self._logger.log(key, step, values)
            self._ledger.record_step(key, step)

    def _end(self, key: str, outcome: Outcome) -> None:
        if not self._ledger.has_ended(key):
            self._logger.end(key, outcome)
            self._ledger.record_end(key)

    def _log_table(self, table: ResultTable) -> None:
        if not self._ledger.has_table(table):
            self._logger.log_table(table)
            self._ledger.record_table(table)
