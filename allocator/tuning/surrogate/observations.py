"""Read the observations that the surrogate is fitted to from a study's trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.trial_memory import has_collapsed, read_seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """The score of one allocation at one boundary.

    Attributes:
        params: The trial's parameters; those that the space fixes may be missing.
        seed: Seed of the training.
        fidelity: Fraction of the training that precedes the boundary, in (0, 1].
        score: The signal that `read_signal` returns for the boundary; higher is better.
        collapsed: Whether the training collapsed or diverged, at this boundary or later.
    """

    params: Params
    seed: int
    fidelity: float
    score: float
    collapsed: bool = False


def read_observations(
    space: Space,
    trials: Sequence[FrozenTrial],
    *,
    final_step: int,
    sign: float,
) -> list[Observation]:
    """Read the scores of completed and pruned trials at every boundary that they reached.

    The earlier boundaries of completed trials show how much scores rise during training. Without
    them the surrogate could not tell whether a pruned trial scored low because it was bad or
    because it was stopped early.

    Args:
        space: The search space; trials that lack one of its parameters are left out.
        trials: Trials in any state.
        final_step: The last boundary; a score at boundary s has fidelity s / final_step.
        sign: As for `read_signal`.
    """
    observations = []
    for trial in trials:
        if not space.has_all_params(trial.params):
            continue
        signal = read_signal(trial, final_step=final_step, sign=sign)
        observations += [
            Observation(
                params=trial.params,
                seed=read_seed(trial),
                fidelity=min(step / final_step, 1.0),
                score=score,
                collapsed=has_collapsed(trial),
            )
            for step, score in sorted(signal.items())
            if step > 0 and math.isfinite(score)
        ]
    return observations


def read_signal(trial: FrozenTrial, *, final_step: int, sign: float) -> dict[int, float]:
    """Read the number by which a training is judged: what its study optimises, by boundary.

    Surrogate, acquisition, race and choice use it. It is higher for better trainings: a loss, which
    a study minimises, changes its sign.

    Args:
        trial: A trial in any state.
        final_step: The last boundary, at which a completed trial has its value.
        sign: Factor that makes higher values better: -1 for a study that minimises.

    Returns:
        Signal by boundary, higher is better; empty for a trial that neither completed nor was
        pruned.
    """
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        earlier = {s: v for s, v in trial.intermediate_values.items() if s < final_step}
        scores = {**earlier, final_step: trial.value}
    elif trial.state == TrialState.PRUNED:
        scores = trial.intermediate_values
    else:
        scores = {}
    return {step: sign * score for step, score in scores.items()}
