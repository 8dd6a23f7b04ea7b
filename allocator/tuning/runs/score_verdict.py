"""Score the verdict's trainings of a study's choice and of its baseline on dev, once."""

from __future__ import annotations

import numpy as np
from optuna.trial import FrozenTrial

from allocator.tuning.evidence.training_noise import estimate_training_noise
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.space.space import make_baseline_params
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import is_completed, read_seed
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import (
    StudyVerdict,
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
    choice = study.select().best.allocation.params
    baseline = make_baseline_params(study.space)
    pairs = find_verdict_trials(study.space, study.trials, choice, baseline)
    seeds = tuple(read_seed(pair[0]) for pair in pairs)
    known = read_verdict(study.study, choice)
    if not pairs or (known is not None and known.seeds == seeds):
        return
    trials = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    paths = [study.adapter_path(t.number) if is_completed(t) else None for t in trials]
    dev = plan.data.dev
    answers = score_adapters(plan.setup, paths, dev, plan.devices.here)
    sides = answers[: len(pairs)], answers[len(pairs) :]
    noise = estimate_training_noise(
        study.expect().allocations, first_seed=study.config.training.seed
    )
    verdict = StudyVerdict(
        params=dict(choice),
        seeds=seeds,
        loss=judge_loss(*sides, noise=noise),
        metric=judge_metric(*sides, np.asarray(dev.labels), plan.setup.task.metric),
        collapsed=(_count_failed(trials[: len(pairs)]), _count_failed(trials[len(pairs) :])),
    )
    write_verdict(study.study, verdict)


def _count_failed(trials: list[FrozenTrial]) -> int:
    return sum(not is_completed(trial) for trial in trials)
