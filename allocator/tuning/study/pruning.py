"""Stop trials that are not worth finishing, by their loss at boundaries that all trials share."""

from __future__ import annotations

import statistics
from abc import abstractmethod

from optuna.pruners import BasePruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from allocator.tuning.names import PrunerName
from allocator.tuning.storage.trial_memory import is_protected, read_losses


class LossPruner(BasePruner):
    """Compare a trial's last loss with the losses of other trials at the same boundary.

    The calibrated loss on the scoring split decides: it is smoother than the score that trials
    report. And unlike the plain loss, it does not rise in trials that still learn but become
    overconfident.

    Args:
        first_step: First boundary at which a trial may be stopped; it lies after the warm-up.
        min_trials: Smallest number of losses at a boundary, this trial's included, for a decision.
    """

    def __init__(self, *, first_step: int, min_trials: int) -> None:
        self._first_step, self._min_trials = first_step, min_trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop at its last boundary."""
        # There is one loss for each boundary reached, so their number is that of the last boundary.
        losses = read_losses(trial)
        step = len(losses)
        if not self._decides_at(step) or is_protected(trial):
            return False
        # Without FAIL: the retry of a broken-off trial reports the same losses again.
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        curves = [
            read_losses(other)
            for other in study.get_trials(deepcopy=False, states=states)
            if other.number != trial.number
        ]
        others = [curve[step - 1] for curve in curves if len(curve) >= step]
        if len(others) + 1 < self._min_trials:
            return False
        return self._is_beaten(losses[-1], others)

    def _decides_at(self, step: int) -> bool:
        return step >= self._first_step

    @abstractmethod
    def _is_beaten(self, loss: float, others: list[float]) -> bool: ...


class SuccessiveHalvingPruner(LossPruner):
    """Asynchronous successive halving: at each rung, only the better trials continue.

    After Li et al. 2020 (arXiv 1810.05934): rungs are the boundaries `first_step` times the powers
    of the reduction factor.

    Args:
        first_step: The first rung.
        min_trials: As for `LossPruner`.
        reduction_factor: At each rung one trial in this many continues; above 1.
    """

    def __init__(
        self, *, first_step: int, min_trials: int = 4, reduction_factor: float = 2.0
    ) -> None:
        super().__init__(first_step=first_step, min_trials=min_trials)
        self._reduction_factor = reduction_factor

    def _decides_at(self, step: int) -> bool:
        rung = float(self._first_step)
        # The factor need not be whole, so rungs are rounded to boundaries.
        while round(rung) < step:
            rung *= self._reduction_factor
        return round(rung) == step

    def _is_beaten(self, loss: float, others: list[float]) -> bool:
        # Comparisons with NaN are false, so a trial whose loss is unknown is not stopped.
        better = sum(other < loss for other in others)
        # Asynchronous: compared are the trials that reached the rung so far, not a fixed bracket.
        return better >= (len(others) + 1) / self._reduction_factor


class MedianPruner(LossPruner):
    """Median rule: stop trials whose loss is worse than the median of the others."""

    def __init__(self, *, first_step: int, min_trials: int = 6) -> None:
        super().__init__(first_step=first_step, min_trials=min_trials)

    def _is_beaten(self, loss: float, others: list[float]) -> bool:
        return loss > statistics.median(others)


def make_pruner(name: PrunerName, *, warmup: float, final_step: int) -> BasePruner:
    """Make a pruner by its name.

    Args:
        name: The pruner's name.
        warmup: Fraction of the training in which learning rates still rise.
        final_step: Boundaries of a whole trial.
    """
    # In replays on trained allocations, stopping after a quarter of the training lost the best
    # ones, because learning curves still cross at that point.
    first_step = max(int(warmup * final_step) + 1, (final_step + 1) // 2)
    match name:
        case "halving":
            return SuccessiveHalvingPruner(first_step=first_step)
        case "median":
            return MedianPruner(first_step=first_step)
        case "none":
            return NopPruner()
