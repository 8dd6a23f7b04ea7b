"""Reports of trials that were never trained, for tests of what becomes of a report."""

from __future__ import annotations

from allocator.config import Calibration
from allocator.training.messages import Ending, Report


def make_report(
    trial: int, score: float = 0.5, ending: Ending | None = "completed", *, step: int = 2
) -> Report:
    """Make the report of a trial whose losses fall as its score rises, and whose answers fit."""
    return Report(
        trial=trial,
        ending=ending,
        score=score,
        loss=1 - score,
        calibrated_loss=1 - score,
        majority_loss=1.0,
        components={"matthews_correlation": score},
        best_score=score,
        step=step,
        train_loss=0.5,
        num_parameters=100,
        head_parameters=10,
        seconds=1.0,
        calibration=Calibration(scale=1.0) if ending == "completed" else None,
    )
