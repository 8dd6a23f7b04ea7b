"""Open the loggers that a user chose by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from allocator.files.study_folder import TENSORBOARD_FOLDER, logged_path
from allocator.tuning.loggers.background_logger import BackgroundLogger
from allocator.tuning.loggers.ledger import Ledger
from allocator.tuning.loggers.logger import LoggedRun, Logger, Outcome, ResultTable
from allocator.tuning.names import LoggerName


class Loggers:
    """All loggers of a command; there may be none."""

    def __init__(self, loggers: Sequence[BackgroundLogger] = ()) -> None:
        self._loggers = loggers

    @property
    def descriptions(self) -> list[str]:
        """The name of each logger, and where it logs to."""
        return [logger.description for logger in self._loggers]

    def start(self, run: LoggedRun) -> None:
        """Start a run, or go on with it, unless it has ended."""
        for logger in self._loggers:
            logger.start(run)

    def log(self, key: str, step: int, values: Mapping[str, float]) -> None:
        """Log what a started run reached at a boundary, unless that was logged."""
        for logger in self._loggers:
            logger.log(key, step, values)

    def end(self, key: str, outcome: Outcome) -> None:
        """End a started run, unless it has ended."""
        for logger in self._loggers:
            logger.end(key, outcome)

    def log_table(self, table: ResultTable) -> None:
        """Log the final table, unless the same one was logged."""
        for logger in self._loggers:
            logger.log_table(table)


@contextlib.contextmanager
def open_loggers(names: Sequence[LoggerName], folder: Path, console: Console) -> Iterator[Loggers]:
    """Open loggers, print where they log to, and wait for them at the end.

    Nothing is written into the study's folder before the first run is started.

    Args:
        names: The loggers.
        folder: The study's folder, whose name is the study's.
        console: Console for warnings; a quiet one shows none, so that standard error does.

    Raises:
        LoggerError: If one of them does not answer, or refuses.
    """
    warnings = Console(stderr=True) if console.quiet else console

    def warn(text: str) -> None:
        warnings.print(f"[yellow]{escape(text)}[/yellow]", highlight=False, soft_wrap=True)

    with contextlib.ExitStack() as closing:
        opened = []
        for name in names:
            ledger = Ledger(logged_path(folder, name))
            logger = _make_logger(name, folder, ledger.identity)
            opened.append(BackgroundLogger(name, logger, ledger, warn))
            closing.callback(opened[-1].close)
        loggers = Loggers(opened)
        for line in loggers.descriptions:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        yield loggers


def _make_logger(name: LoggerName, folder: Path, identity: str) -> Logger:
    """Make a logger; imports its package, which takes seconds."""
    if name == "tensorboard":
        from allocator.tuning.loggers.tensorboard_logger import TensorboardLogger  # noqa: PLC0415

        return TensorboardLogger(folder / TENSORBOARD_FOLDER)
    if name == "wandb":
        from allocator.tuning.loggers.wandb_logger import WandbLogger  # noqa: PLC0415

        return WandbLogger(folder.name, identity)
    from allocator.tuning.loggers.mlflow_logger import MlflowLogger  # noqa: PLC0415

    return MlflowLogger(folder.name, identity)
