"""What a study has seen so far, as the surrogate reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from allocator.tuning.space import Params, Space


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One score of one allocation.

    Attributes:
        params: The trial's parameters; those that the space fixes may be missing.
        fidelity: Share of its training after which the score was seen, in (0, 1].
        score: The score; higher is better.
    """

    params: Params
    fidelity: float
    score: float


def read_observations(
    space: Space,
    trials: Sequence[FrozenTrial],
    *,
    final_step: int,
    direction: StudyDirection = StudyDirection.MAXIMIZE,
) -> list[Observation]:
    """Read completed trials at full fidelity, and pruned ones at the step where they stopped.

    Args:
        space: The search space; trials that lack one of its parameters are left out.
        trials: Trials in any state.
        final_step: The last boundary; a trial pruned at step s was seen at fidelity s / final_step.
        direction: The study's direction; scores to be minimised change sign.
    """
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    found = []
    for trial in trials:
        if not has_parameters(space, trial):
            continue
        step, score = _last_value(trial, final_step)
        if step > 0 and math.isfinite(score):
            fidelity = min(step / final_step, 1.0)
            found.append(Observation(params=trial.params, fidelity=fidelity, score=sign * score))
    return found


def has_parameters(space: Space, trial: FrozenTrial) -> bool:
    """Tell whether a trial has a value for every searched parameter."""
    return trial.params.keys() >= space.distributions.keys()


def _last_value(trial: FrozenTrial, final_step: int) -> tuple[int, float]:
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return final_step, trial.value
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        step = max(trial.intermediate_values)
        return step, trial.intermediate_values[step]
    return 0, math.nan
