"""Score the verdict's trainings of a study's choice and of its opponents on dev, once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial

from allocator.training.evaluation import Answers
from allocator.tuning.evidence.training_noise import estimate_training_noise
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import is_completed, read_seed
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import (
    StudyVerdict,
    Versus,
    find_verdict_trials,
    judge_loss,
    judge_metric,
    read_verdict,
    write_verdict,
)
from allocator.workers.score_adapters import score_adapters


def score_verdict(study: SearchStudy, plan: Plan[StudyConfig]) -> None:
    """Score the trainings of the verdict on dev, unless these were scored or some are missing.

    Raises:
        StudyError: If no allocation was trained without a collapse.
        CheckpointError: If an adapter is missing or damaged.
    """
    selection = study.select()
    opponents = selection.opponents
    compared = [selection.best, *opponents.values()]
    shared = find_verdict_trials(
        study.space, study.trials, [choice.allocation.params for choice in compared]
    )
    seeds = tuple(read_seed(trials[0]) for trials in shared)
    choice = selection.best.allocation.params
    known = read_verdict(study.study, choice)
    if not shared or (known and (known.seeds, set(known.versus)) == (seeds, set(opponents))):
        return
    by_allocation = list(zip(*shared, strict=True))
    trials = [trial for of_one in by_allocation for trial in of_one]
    paths = [study.adapter_path(t.number) if is_completed(t) else None for t in trials]
    answers = score_adapters(plan.setup, paths, plan.data.dev, plan.devices.here)
    sides = [answers[i : i + len(seeds)] for i in range(0, len(answers), len(seeds))]
    write_verdict(
        study.study,
        StudyVerdict(
            params=dict(choice),
            seeds=seeds,
            collapsed=_count_failed(by_allocation[0]),
            versus={
                name: _compare(study, plan, sides[0], side, _count_failed(of_one))
                for name, side, of_one in zip(opponents, sides[1:], by_allocation[1:], strict=True)
            },
        ),
    )


def _compare(
    study: SearchStudy,
    plan: Plan[StudyConfig],
    choice: Sequence[Answers],
    opponent: Sequence[Answers],
    collapsed: int,
) -> Versus:
    noise = estimate_training_noise(
        study.expect().allocations, first_seed=study.config.training.seed
    )
    labels = np.asarray(plan.data.dev.labels)
    return Versus(
        loss=judge_loss(choice, opponent, noise=noise),
        metric=judge_metric(choice, opponent, labels, plan.setup.task.metric),
        collapsed=collapsed,
    )


def _count_failed(trials: Sequence[FrozenTrial]) -> int:
    return sum(not is_completed(trial) for trial in trials)
