"""What a study has seen so far, as the surrogate reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.trial_memory import has_collapsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One score of one allocation.

    Attributes:
        params: The trial's parameters; those that the space fixes may be missing.
        fidelity: Share of its training after which the score was seen, in (0, 1].
        score: The score; higher is better.
        collapsed: Whether its training collapsed or diverged, then or later.
    """

    params: Params
    fidelity: float
    score: float
    collapsed: bool = False


def read_observations(
    space: Space,
    trials: Sequence[FrozenTrial],
    *,
    final_step: int,
    direction: StudyDirection = StudyDirection.MAXIMIZE,
) -> list[Observation]:
    """Read the scores of completed and pruned trials at every boundary that they reached.

    The earlier boundaries of completed trials are what tells how scores rise with fidelity: without
    them, that a pruned trial was seen early and that it was bad cannot be told apart.

    Args:
        space: The search space; trials that lack one of its parameters are left out.
        trials: Trials in any state.
        final_step: The last boundary; a score at step s has fidelity s / final_step.
        direction: The study's direction; scores to be minimised change sign.
    """
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    found = []
    for trial in trials:
        if not space.has_all_params(trial.params):
            continue
        found += [
            Observation(
                params=trial.params,
                fidelity=min(step / final_step, 1.0),
                score=sign * score,
                collapsed=has_collapsed(trial),
            )
            for step, score in sorted(_scores(trial, final_step).items())
            if step > 0 and math.isfinite(score)
        ]
    return found


def _scores(trial: FrozenTrial, final_step: int) -> dict[int, float]:
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        earlier = {s: v for s, v in trial.intermediate_values.items() if s < final_step}
        return {**earlier, final_step: trial.value}
    return trial.intermediate_values if trial.state == TrialState.PRUNED else {}
