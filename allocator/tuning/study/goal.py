"""How many trainings a study is to have, and how they are divided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

# A GPU trains as many in less time than a CPU its own: 10,600 sentences a second, not 400.
_TRIALS_ON_CPU, _TRIALS_ON_GPU = 28, 64  # besides those of rivals and smaller budgets
_PER_BUDGET = 8  # further trainings that seek an allocation for a smaller budget
_ROUNDS = 5  # of a search, before its verdict
_NEW = 0.45  # fraction of a search's trainings, without rivals, that try a new allocation
_RATES = 3  # learning rates at which every rival is tried


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """The number of trainings that a study is to have.

    Attributes:
        trials: Trainings in all.
        verdict_seeds: Seeds with which the choice and what it is compared with are trained once
            more.
        rivals: Number of rivals, the baseline not counted.
        budgets: Number of budgets for which an allocation is sought.
    """

    trials: int
    verdict_seeds: int
    rivals: int = 0
    budgets: int = 1

    @classmethod
    def choose(
        cls,
        trials: int | None,
        verdict_seeds: int,
        *,
        rivals: int,
        budgets: int,
        kind: str,
        devices: int,
    ) -> Self:
        """Choose a goal for some devices, unless the user gave one.

        Args:
            trials: Trainings in all; None for as many as the devices can make in reasonable time.
            verdict_seeds: Seeds of the verdict.
            rivals: Number of rivals.
            budgets: Number of budgets.
            kind: Kind of the devices, `cuda` or `cpu`.
            devices: Number of the devices.
        """
        if trials is None:
            trials = _TRIALS_ON_GPU * devices if kind == "cuda" else _TRIALS_ON_CPU
            trials += rivals * (_RATES + verdict_seeds)
            # Choice and baseline of each have the verdict's seeds too.
            trials += (budgets - 1) * (_PER_BUDGET + 2 * verdict_seeds)
        return cls(trials=trials, verdict_seeds=verdict_seeds, rivals=rivals, budgets=budgets)

    @property
    def num_verdict_seeds(self) -> int:
        """Seeds of the verdict: as many as asked for, if half of the trainings suffice for them."""
        return self._limit_verdict_seeds(self._num_compared)

    @property
    def num_search(self) -> int:
        """Trainings before the verdict."""
        return self.trials - self._num_compared * self.num_verdict_seeds

    @property
    def num_rates(self) -> int:
        """Learning rates at which every rival is tried; rivals take a third at most.

        In a search that is too small for one rate of each it is 0: no rival is tried.
        """
        if not self.rivals:
            return 0
        compared = 2 * self.budgets + self.rivals
        num_search = self.trials - compared * self._limit_verdict_seeds(compared)
        return min(_RATES, num_search // (3 * self.rivals))

    @property
    def num_allocations(self) -> int:
        """Allocations that are tried, without rivals; other trainings are further seeds."""
        # At least one beside every baseline, or there would be nothing to choose.
        return max(
            2 * self.budgets, math.ceil(_NEW * (self.num_search - self.rivals * self.num_rates))
        )

    @property
    def _num_compared(self) -> int:
        """Choice and baseline of every budget, and the rivals that are tried."""
        return 2 * self.budgets + (self.rivals if self.num_rates else 0)

    def _limit_verdict_seeds(self, compared: int) -> int:
        return min(self.verdict_seeds, self.trials // (2 * compared))

    @property
    def places(self) -> int:
        """Trainings in a round.

        It does not depend on how many a device trains together, so that every machine makes the
        same study of as many trainings.
        """
        return math.ceil(self.num_search / _ROUNDS)
