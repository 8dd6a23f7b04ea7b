"""Scores of a study's best allocations with other seeds, on held-out data and on dev."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from allocator.files.study_folder import CONFIRMATION_FOLDER, SCORES_FILE
from allocator.files.tables import read_table, write_table

CONFIDENCE = 0.95
_COLUMNS = ("trial", "is_baseline", "seed", "held_out", "dev")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: The mean.
        error: Its standard error; None if there is one seed.
        seeds: Number of seeds.
    """

    value: float
    error: float | None
    seeds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The difference between the scores of two allocations with the same seeds.

    Attributes:
        mean: Mean difference over seeds.
        low: Lower end of its confidence interval at level `CONFIDENCE`, by Student's t over seeds.
        high: Upper end of that interval.
    """

    mean: float
    low: float
    high: float

    @property
    def is_distinguishable(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """Scores of some trials' allocations, trained again with other seeds.

    Attributes:
        scores: One row for each training, columns `trial`, `is_baseline`, `seed`, `held_out`, and
            `dev`, which only the chosen allocation and the baseline have.
    """

    scores: pd.DataFrame

    @property
    def trials(self) -> list[int]:
        """Numbers of the trials, in ascending order."""
        return sorted(map(int, self.scores.trial.unique()))

    @property
    def seeds(self) -> list[int]:
        """The seeds, in ascending order."""
        return sorted(map(int, self.scores.seed.unique()))

    @property
    def best(self) -> int:
        """Number of the trial whose allocation has the highest mean held-out score."""
        means = {trial: self.mean(trial, "held_out") for trial in self.trials}
        values = {trial: mean.value for trial, mean in means.items() if mean is not None}
        # Of equal means, `max` takes the first: the trial with the lowest number.
        return max(values, key=values.__getitem__)

    @property
    def baseline(self) -> int | None:
        """Number of the baseline's trial; None if it was not trained again."""
        baseline = self.scores[self.scores.is_baseline].trial
        return None if baseline.empty else int(baseline.iloc[0])

    def mean(self, trial: int, column: str) -> Mean | None:
        """Average one trial's scores, `held_out` or `dev`; None if it has none."""
        values = list(self._read_scores_by_seed(trial, column).values())
        if not values:
            return None
        error = float(stats.sem(values)) if len(values) > 1 else None
        return Mean(value=float(np.mean(values)), error=error, seeds=len(values))

    def difference(self, column: str) -> Difference | None:
        """Compare the chosen allocation with the baseline.

        Args:
            column: `held_out`, on which it was chosen, or `dev`, on which it was not.

        Returns:
            None if one of them is missing, the baseline was chosen, or they share fewer than two
            seeds.
        """
        if self.baseline is None or self.best == self.baseline:
            return None
        mine, other = (
            self._read_scores_by_seed(trial, column) for trial in (self.best, self.baseline)
        )
        # By seed, so that what a seed does to both allocations cancels.
        paired = [mine[seed] - other[seed] for seed in mine.keys() & other.keys()]
        # One pair has no standard error.
        if len(paired) < 2:
            return None
        mean, error = float(np.mean(paired)), float(stats.sem(paired))
        # Student's t, two-sided, with one degree of freedom less than pairs.
        margin = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(paired) - 1))
        return Difference(mean=mean, low=mean - margin, high=mean + margin)

    def summary(self) -> dict[str, float | int]:
        """Summarize the confirmation for the recipe."""
        summary: dict[str, float | int] = {"confirmed_seeds": len(self.seeds)}
        for column in ("held_out", "dev"):
            if (mean := self.mean(self.best, column)) is not None:
                summary[f"{column}_mean"] = mean.value
                summary |= (
                    {f"{column}_standard_error": mean.error} if mean.error is not None else {}
                )
            if (difference := self.difference(column)) is not None:
                summary[f"{column}_difference"] = difference.mean
                summary[f"{column}_difference_low"] = difference.low
                summary[f"{column}_difference_high"] = difference.high
        return summary

    def _read_scores_by_seed(self, trial: int, column: str) -> dict[int, float]:
        # `dev` is NaN except for the chosen allocation and the baseline.
        mine = self.scores[self.scores.trial == trial].dropna(subset=column)
        return dict(zip(mine.seed.tolist(), mine[column].tolist(), strict=True))


def write_confirmation(folder: Path, confirmation: Confirmation) -> None:
    """Write the scores into a study's folder; the file appears whole or not at all."""
    write_table(folder / CONFIRMATION_FOLDER / SCORES_FILE, confirmation.scores)


def read_confirmation(folder: Path) -> Confirmation | None:
    """Read the scores from a study's folder; None if the study was not confirmed."""
    scores = read_table(folder / CONFIRMATION_FOLDER / SCORES_FILE, required=_COLUMNS)
    return None if scores.empty else Confirmation(scores=scores)
