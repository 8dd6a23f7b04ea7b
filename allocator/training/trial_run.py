"""One trial from its start to its end, as a worker follows it."""

from __future__ import annotations

import time

from allocator.training.evaluation import Evaluation
from allocator.training.messages import Ending, Job, Report
from allocator.training.training_slot import TrainingSlot

# A logit, or a share of the labels' spread; measured: logits vary by 0.002 in collapsed trials, by
# 0.05 and more in all others.
_COLLAPSED = 0.01


class TrialRun:
    """A trial in training and what its boundaries have shown.

    Args:
        job: The trial.
        slot: Its place in a pack.
        majority: What the majority-class predictor scores.
        boundaries: Boundaries of a whole trial.

    Attributes:
        ending: How it ended, or None while it trains.
    """

    def __init__(self, job: Job, slot: TrainingSlot, majority: Evaluation, boundaries: int) -> None:
        self.job, self.slot = job, slot
        self.ending: Ending | None = None
        self._majority, self._boundaries = majority, boundaries
        self._history: list[Evaluation] = []
        self._start = time.perf_counter()

    def reach(self, found: Evaluation) -> None:
        """Take in what the trial scored at its next boundary."""
        self._history.append(found)
        if self._has_collapsed(found):
            self.ending = "collapsed"
        elif len(self._history) == self._boundaries:
            self.ending = "completed"

    def report(self) -> Report:
        """Say where the trial stands."""
        failed = self.ending in ("diverged", "collapsed")
        last = self._majority if failed else self._history[-1]
        observer = self.slot.observer
        return Report(
            trial=self.job.trial,
            ending=self.ending,
            score=last.score.value,
            loss=last.loss,
            calibrated_loss=last.calibrated_loss,
            components=last.score.components,
            best_score=max(found.score.value for found in [*self._history, last]),
            step=len(self._history),
            train_loss=self.slot.compute_mean_loss(),
            num_parameters=self.slot.adapter.num_parameters,
            head_parameters=self.slot.head.num_parameters,
            seconds=time.perf_counter() - self._start,
            measures=None if failed or observer is None else observer.measure(),
        )

    def _has_collapsed(self, now: Evaluation) -> bool:
        """Tell whether the trial answers the same whatever it reads.

        Before half of its training it may still recover. A trial that reads, but has not learnt
        yet, also answers one class, yet not with the same confidence everywhere.
        """
        late = 2 * len(self._history) >= self._boundaries
        return late and now.spread < _COLLAPSED
