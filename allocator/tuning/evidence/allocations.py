"""The allocations that a study has tried, each with its trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.trial_memory import (
    has_collapsed,
    is_baseline,
    is_completed,
    list_standing,
    read_rival,
    read_seed,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TriedAllocation:
    """One allocation and its trainings.

    Attributes:
        params: Its parameters.
        trials: Its trainings in any state, in the order of the study's decisions.
    """

    params: Params
    trials: tuple[FrozenTrial, ...]

    @property
    def is_baseline(self) -> bool:
        """Whether it is the uniform-rank baseline."""
        return any(map(is_baseline, self.trials))

    @property
    def rival(self) -> str | None:
        """Name of the rival that it is of, `baseline` for the baseline; None for all others."""
        return next(filter(None, map(read_rival, self.trials)), None)

    @property
    def is_sound(self) -> bool:
        """Whether a training reached its end, and none collapsed or diverged."""
        return any(map(is_completed, self.trials)) and not any(map(has_collapsed, self.trials))

    @property
    def seeds(self) -> frozenset[int]:
        """Seeds of its trainings, those that are still running included."""
        return frozenset(map(read_seed, self.trials))

    @property
    def completed(self) -> tuple[FrozenTrial, ...]:
        """Its trainings that reached their end."""
        return tuple(trial for trial in self.trials if is_completed(trial))


def list_allocations(space: Space, trials: Sequence[FrozenTrial]) -> list[TriedAllocation]:
    """List the allocations that some trials tried, in the order of their first trainings.

    Args:
        space: The search space; trials that lack one of its parameters are left out.
        trials: Trials in any state.
    """
    found: list[tuple[Params, list[FrozenTrial]]] = []
    for trial in list_standing(trials):
        if not space.has_all_params(trial.params):
            continue
        # Mappings have no hash, so equal ones are found by comparison.
        known = next((group for params, group in found if params == trial.params), None)
        if known is None:
            found.append((trial.params, [trial]))
        else:
            known.append(trial)
    return [TriedAllocation(params=params, trials=tuple(group)) for params, group in found]
