"""The progress of one trial: its evaluations so far, and how it ended."""

from __future__ import annotations

import math
import time

from allocator.training.evaluation import Evaluation
from allocator.training.messages import Ending, Job, Report
from allocator.training.training_slot import TrainingSlot

# Spread of answers, as `Evaluation` defines it, below which a trial has collapsed. Measured spreads
# of logits are 0.002 in collapsed trials and 0.05 or more in all others.
_COLLAPSED_SPREAD = 0.01


class TrialRun:
    """One trial in training, with its evaluations at the boundaries so far.

    Args:
        job: The trial to train.
        slot: The slot that trains it.
        majority: Evaluation of the majority-class predictor, used for trials that diverged or
            collapsed.
        boundaries: Number of boundaries of a whole training.

    Attributes:
        ending: How the trial ended; None while it trains.
    """

    def __init__(self, job: Job, slot: TrainingSlot, majority: Evaluation, boundaries: int) -> None:
        self.job, self.slot = job, slot
        self.ending: Ending | None = None
        self._majority, self._boundaries = majority, boundaries
        self._history: list[Evaluation] = []
        self._start = time.perf_counter()

    def reach_boundary(self, evaluation: Evaluation) -> None:
        """Record the evaluation at the next boundary, and the trial's ending if it ends there."""
        self._history.append(evaluation)
        # First, so that a trial can collapse at its last boundary too.
        if self._has_collapsed(evaluation):
            self.ending = "collapsed"
        elif len(self._history) == self._boundaries:
            self.ending = "completed"

    def report(self) -> Report:
        """Make the report of the trial's state; this waits for the device."""
        failed = self.ending in ("diverged", "collapsed")
        last = self._majority if failed else self._history[-1]
        observer = self.slot.observer
        return Report(
            trial=self.job.trial,
            ending=self.ending,
            score=last.score.value,
            loss=last.loss,
            calibrated_loss=last.calibrated_loss,
            majority_loss=self._majority.loss,
            components=last.score.components,
            # With `last`, because a trial that diverged early has no history.
            best_score=max(evaluation.score.value for evaluation in [*self._history, last]),
            step=len(self._history),
            train_loss=self.slot.compute_mean_loss(),
            num_parameters=self.slot.adapter.num_parameters,
            head_parameters=self.slot.head.num_parameters,
            seconds=time.perf_counter() - self._start,
            # The spectra of a failed adapter may not even be finite.
            measures=None if failed or observer is None else observer.measure(),
            calibration=last.calibration,
        )

    def calibrate(self) -> None:
        """Fold the job's calibration, or the one of the last boundary, into the head."""
        calibration = self.job.calibration or self._history[-1].calibration
        if calibration is not None:
            self.slot.head.fold_calibration(calibration)

    def _has_collapsed(self, last: Evaluation) -> bool:
        """Whether the trial gives the same answer to every input, or none, and will not recover.

        In the first half of the training it may still recover from the former. The spread of the
        logits decides, not the classes answered: a sound trial that has not learnt much also
        answers a single class, but with different confidence for different inputs.
        """
        is_late = 2 * len(self._history) >= self._boundaries
        # The last step may have left weights that are not finite, and so no spread.
        return not math.isfinite(last.spread) or (is_late and last.spread < _COLLAPSED_SPREAD)
