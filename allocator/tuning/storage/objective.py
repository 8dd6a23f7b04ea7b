"""What a study optimises: the one number by which sampler, pruner, race and choice decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from allocator.files.recipe import TaskSection
from allocator.training.messages import Report
from allocator.tuning.names import DecideBy

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The number that a study optimises.

    Attributes:
        name: Its name, for tables and the dashboard.
        decide_by: Whether it is the calibrated loss or the task's metric.
    """

    name: str
    decide_by: DecideBy

    @property
    def direction(self) -> Direction:
        """Whether lower or higher values are better."""
        return "minimize" if self.decide_by == "loss" else "maximize"

    @property
    def sign(self) -> float:
        """Factor that makes higher values better."""
        return -1.0 if self.decide_by == "loss" else 1.0

    def read_value(self, report: Report) -> float:
        """Return the value of a training at a boundary, on the examples that it is scored on."""
        return report.calibrated_loss if self.decide_by == "loss" else report.score


def make_objective(decide_by: DecideBy, task: TaskSection) -> Objective:
    """Make the objective of a task's study.

    Args:
        decide_by: Whether the calibrated loss decides or, as in published protocols, the metric.
        task: The task.
    """
    if decide_by == "metric":
        return Objective(name=task.metric, decide_by=decide_by)
    # For regression the loss is the squared error, and the calibration a line.
    name = "calibrated loss" if task.labels else "calibrated squared error"
    return Objective(name=name, decide_by=decide_by)
