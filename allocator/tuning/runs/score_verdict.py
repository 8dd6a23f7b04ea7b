"""Score the verdict's trainings of a study's choices and of their opponents on dev, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial

from allocator.data.tasks import Examples
from allocator.progress.run_progress import RunProgress
from allocator.training.evaluation import Answers
from allocator.tuning.evidence.choice import Selection, list_compared
from allocator.tuning.evidence.decision_threshold import choose_threshold, needs_threshold
from allocator.tuning.evidence.training_noise import estimate_training_noise
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.runs.run_parts import VERDICT
from allocator.tuning.space.space import Params
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import is_completed, read_seed
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import (
    StudyVerdict,
    Versus,
    find_verdict_trials,
    judge_loss,
    judge_metric,
    list_opponents,
    read_verdicts,
    write_verdicts,
)
from allocator.workers.score_adapters import AdapterScorer


def score_verdict(study: SearchStudy, plan: Plan[StudyConfig], progress: RunProgress) -> None:
    """Score the trainings of the verdict on dev, unless these were scored or some are missing.

    Raises:
        StudyError: If no allocation was trained without a collapse.
        CheckpointError: If an adapter is missing or damaged.
    """
    front = study.select_front()
    compared = [allocation.params for allocation in list_compared(front)]
    shared = find_verdict_trials(study.space, study.trials, compared)
    seeds = tuple(read_seed(trials[0]) for trials in shared)
    known = read_verdicts(study.study, front)
    if not shared or all(verdict is not None and verdict.seeds == seeds for verdict in known):
        return
    progress.begin("scoring on dev", VERDICT)
    sides = _answer_dev(plan, study, list(zip(*shared, strict=True)), progress)
    noise = estimate_training_noise(
        study.expect().allocations, first_seed=study.config.training.seed
    )

    labels = plan.data.dev.label_array

    def compare(own: _Side, params: Params) -> Versus:
        other = sides[compared.index(params)]
        return Versus(
            params=dict(params),
            loss=judge_loss(own.answers, other.answers, noise=noise),
            metric=judge_metric(own.answers, other.answers, labels, plan.setup.task.metric),
            collapsed=other.collapsed,
        )

    def judge(selection: Selection) -> StudyVerdict:
        own = sides[compared.index(selection.best.allocation.params)]
        opponents = list_opponents(front, selection)
        return StudyVerdict(
            params=dict(selection.best.allocation.params),
            seeds=seeds,
            threshold=own.threshold,
            collapsed=own.collapsed,
            loss=float(np.mean([answers.losses.mean() for answers in own.answers])),
            versus={name: compare(own, params) for name, params in opponents.items()},
        )

    write_verdicts(study.study, {selection.budget: judge(selection) for selection in front})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """What one allocation answers to dev.

    Attributes:
        answers: Its answers, one for each seed, decided at the threshold.
        threshold: The threshold that what the seeds hold out chose; 0 if the metric needs none.
        collapsed: Number of its trainings that collapsed or diverged.
    """

    answers: Sequence[Answers]
    threshold: float
    collapsed: int


def _answer_dev(
    plan: Plan[StudyConfig],
    study: SearchStudy,
    trials: Sequence[Sequence[FrozenTrial]],
    progress: RunProgress,
) -> list[_Side]:
    """Let the trainings of some allocations answer dev, each with its seeds."""
    setup, dev = plan.setup, plan.data.dev
    scorer = AdapterScorer(setup, plan.devices.here)
    # If trainings are scored on dev, no labels are left to choose a threshold by.
    chooses = setup.scoring is None and needs_threshold(setup.task.metric, len(setup.task.labels))
    sides: list[_Side] = []
    for of_one in trials:
        progress.advance(len(sides) / len(trials), f"{len(sides)}/{len(trials)} allocations")
        paths = [study.adapter_path(t.number) if is_completed(t) else None for t in of_one]
        answers, threshold = scorer.answer(paths, dev), 0.0
        if chooses:
            held_out = [
                (path, setup.train.select(setup.hold_out(read_seed(trial))[1].tolist()))
                for path, trial in zip(paths, of_one, strict=True)
                if path is not None
            ]
            threshold = _choose_threshold(scorer, held_out, setup.task.metric)
            answers = [a.decide(threshold, dev.labels, setup.task.metric) for a in answers]
        sides.append(_Side(answers=answers, threshold=threshold, collapsed=paths.count(None)))
    progress.advance(1.0, f"{len(sides)}/{len(trials)} allocations")
    return sides


def _choose_threshold(
    scorer: AdapterScorer, held_out: Sequence[tuple[Path, Examples]], metric: str
) -> float:
    """Choose a threshold on what all seeds hold out; 0 if all trainings collapsed."""
    margins = [scorer.answer([path], examples)[0].margins for path, examples in held_out]
    found = [m for m in margins if m is not None]
    if not found:
        return 0.0
    labels = np.concatenate([examples.label_array for _, examples in held_out])
    return choose_threshold(metric, np.concatenate(found), labels)
