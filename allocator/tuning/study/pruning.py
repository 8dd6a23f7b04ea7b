"""Stop trainings that are not worth finishing, at boundaries that all trainings share."""

from __future__ import annotations

import statistics
from abc import abstractmethod

from optuna.pruners import BasePruner, NopPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from allocator.tuning.names import PrunerName
from allocator.tuning.storage.trial_memory import (
    list_standing,
    read_budget,
    read_num_parameters,
    read_position,
    read_purpose,
    read_seed,
)

_PRUNED_PURPOSES = ("proposal", "search")  # the others are measured to their end


class BoundaryPruner(BasePruner):
    """Compare a training's last value with those of other trainings at the same boundary.

    It is compared with trainings of the same seed, which are scored on the same examples, and of
    those with the ones that were decided on before it. So the decision does not depend on which
    training happens to reach the boundary first. A training that was suggested within a smaller
    budget is compared with none of more parameters, or it would be stopped for being small.

    Args:
        first_step: First boundary at which a trial may be stopped; it lies after the warm-up.
        min_trials: Smallest number of values at a boundary, this trial's included, for a decision.
    """

    def __init__(self, *, first_step: int, min_trials: int) -> None:
        self._first_step, self._min_trials = first_step, min_trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop at its last boundary."""
        step = trial.last_step
        if step is None or not self._decides_at(step):
            return False
        if read_purpose(trial) not in _PRUNED_PURPOSES:
            return False
        limit = read_budget(trial)
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        others = [
            sign * other.intermediate_values[step]
            for other in list_standing(study.get_trials(deepcopy=False))
            if step in other.intermediate_values
            and read_purpose(other) != "rival"  # it may have more parameters than the budget
            and (limit is None or read_num_parameters(other) <= limit)
            and read_seed(other) == read_seed(trial)
            and read_position(other) < read_position(trial)
        ]
        if len(others) + 1 < self._min_trials:
            return False
        return self._is_beaten(sign * trial.intermediate_values[step], others)

    def _decides_at(self, step: int) -> bool:
        return step >= self._first_step

    @abstractmethod
    def _is_beaten(self, value: float, others: list[float]) -> bool:
        """Whether a value is too high, where lower is better."""


class SuccessiveHalvingPruner(BoundaryPruner):
    """Asynchronous successive halving: at each rung, only the better trials continue.

    After Li et al. 2020 (arXiv 1810.05934): rungs are the boundaries `first_step` times the powers
    of the reduction factor.

    Args:
        first_step: The first rung.
        min_trials: As for `BoundaryPruner`.
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

    def _is_beaten(self, value: float, others: list[float]) -> bool:
        # Comparisons with NaN are false, so a trial whose value is unknown is not stopped.
        better = sum(other < value for other in others)
        # Asynchronous: compared are the trials that reached the rung so far, not a fixed bracket.
        return better >= (len(others) + 1) / self._reduction_factor


class MedianPruner(BoundaryPruner):
    """Median rule: stop trials whose value is worse than the median of the others."""

    def __init__(self, *, first_step: int, min_trials: int = 6) -> None:
        super().__init__(first_step=first_step, min_trials=min_trials)

    def _is_beaten(self, value: float, others: list[float]) -> bool:
        return value > statistics.median(others)


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
