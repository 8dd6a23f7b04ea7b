"""The trainings of a list of allocations as runs of loggers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from allocator.coordination.listed_trials import ListedTrials
from allocator.training.messages import Report, Stage
from allocator.tuning.loggers.logger import LoggedRun, Value
from allocator.tuning.loggers.open_loggers import Loggers
from allocator.tuning.loggers.training_runs import list_hyperparameters, list_values


@dataclass(frozen=True, kw_only=True, slots=True)
class RunNames:
    """How the runs of a list are named.

    Attributes:
        purpose: Why the trainings are made.
        split: What they are scored on, in front of the names of scores, unless it is what all
            trainings of a study are scored on.
        others: Key and name in place of those that the list would give, by the allocation's name.
    """

    purpose: str
    split: str = ""
    others: Callable[[str, int], tuple[str, str] | None] = lambda _name, _seed: None

    def make_key(self, name: str, seed: int) -> str:
        """Return the key of the run of an allocation with a seed."""
        other = self.others(name, seed)
        return f"{self.purpose}-{_plain(name)}-seed-{seed}" if other is None else other[0]

    def make_name(self, name: str, seed: int) -> str:
        """Return the name of the run of an allocation with a seed."""
        other = self.others(name, seed)
        return f"{self.purpose}-{_plain(name)}-seed-{seed}" if other is None else other[1]


class ListRuns:
    """Watch the trainings of a list for loggers; those that were recorded are logged at once.

    Args:
        trials: The trainings of a seed.
        loggers: The loggers.
        names: How their runs are named.
    """

    def __init__(self, trials: ListedTrials, loggers: Loggers, names: RunNames) -> None:
        self._trials, self._loggers, self._names = trials, loggers, names
        for number, name in enumerate(trials.names):
            reports = trials.records.read_reports(name, trials.seed)
            if reports:
                self.on_started(number)
                for report in reports:
                    if report.ending in (None, "completed"):  # others have the majority's scores
                        self._log(name, report)
                self.on_ended(number)

    def on_stage(self, stage: Stage) -> None:
        """Log nothing of what workers are doing."""
        del stage

    def on_ready(self, slots: int) -> None:
        """Log nothing."""

    def on_started(self, number: int) -> None:
        """Start the training's run."""
        name, seed = self._trials.name(number), self._trials.seed
        listed = self._trials.config.allocations[name]
        spec = listed.adapter.to_spec(self._trials.config.backbone)
        asked: dict[str, Value] = {"purpose": self._names.purpose, "allocation": name, "seed": seed}
        run = LoggedRun(
            key=self._names.make_key(name, seed),
            name=self._names.make_name(name, seed),
            purpose=self._names.purpose,
            hyperparameters={**asked, **list_hyperparameters(spec, listed.allocation)},
        )
        self._loggers.start(run)

    def on_report(self, report: Report) -> None:
        """Log what the training has reached."""
        self._log(self._trials.name(report.trial), report)

    def on_ended(self, number: int) -> None:
        """End the training's run, unless it is tried again."""
        name, seed = self._trials.name(number), self._trials.seed
        key = self._names.make_key(name, seed)
        if name in self._trials.given_up:
            self._loggers.end(key, "given up")
            return
        reports = self._trials.records.read_reports(name, seed)
        if reports and reports[-1].ending is not None:
            self._loggers.end(key, reports[-1].ending)

    def _log(self, name: str, report: Report) -> None:
        key = self._names.make_key(name, self._trials.seed)
        values = list_values(report, self._trials.config.training, self._names.split)
        self._loggers.log(key, report.step, values)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
