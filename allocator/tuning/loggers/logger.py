"""What a logger is: something that shows each training as a run, and a table at the end."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from allocator.training.messages import Ending

Value = str | int | float
Cell = str | int | float | None

Outcome = Ending | Literal["given up"]
"""How a run ended: as its training did, or because its workers kept dying."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRun:
    """One training as a run.

    Attributes:
        key: Identifies the training within its study, of letters, digits, dots and dashes. A
            training that broke off and is tried again has the same key.
        name: What people see, of the same characters.
        purpose: Why the training is made, such as `baseline` or `race`.
        hyperparameters: What is tried, by name.
    """

    key: str
    name: str
    purpose: str
    hyperparameters: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultTable:
    """The final table of a study."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def to_markdown(self) -> str:
        """Format the table as Markdown."""
        lines = [self.columns, ("---",) * len(self.columns), *map(self._format, self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def to_csv(self) -> str:
        """Format the table as CSV, its numbers in full."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()

    @staticmethod
    def _format(row: tuple[Cell, ...]) -> tuple[str, ...]:
        return tuple(
            f"{cell:.4f}" if isinstance(cell, float) else "" if cell is None else str(cell)
            for cell in row
        )


class Logger(Protocol):
    """A place where runs are logged; its methods may take long, and raise what they like."""

    destination: str
    """What tells where it logs to from other places; the same on every run, without a password."""

    address: str
    """Where it logs to, for people to read."""

    def has_run(self, key: str, name: str) -> bool:
        """Whether a run that was logged before is still there, as far as can be told."""

    def start(self, run: LoggedRun, *, earlier: str | None) -> None:
        """Start a run, or go on with one.

        Args:
            run: The run.
            earlier: The name under which it was started before, if it was.
        """

    def log(self, key: str, step: int, values: Mapping[str, float]) -> None:
        """Log what a started run reached at a boundary."""

    def end(self, key: str, outcome: Outcome) -> None:
        """End a started run."""

    def log_table(self, table: ResultTable) -> None:
        """Log the final table of the study, replacing an earlier one where that is possible."""

    def close(self) -> None:
        """Leave the runs that have not ended as broken off."""
