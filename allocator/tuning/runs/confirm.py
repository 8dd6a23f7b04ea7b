"""Trains a study's best allocations and its baseline again with other seeds, and chooses by them.

The highest of many noisy scores is partly luck, and so is what a model that saw it expects. Seeds
that the search has not seen carry none of that luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from optuna.trial import FrozenTrial
from rich.console import Console

from allocator.coordination.list_config import (
    ListedAllocation,
    make_list_config,
    make_listed_allocation,
)
from allocator.coordination.protocols import Devices
from allocator.coordination.train_list import train_list
from allocator.data.metrics import compute_majority_score
from allocator.data.tasks import Examples
from allocator.tuning.space.build_space import adapter_spec
from allocator.tuning.study.confirmation import FOLDER, Confirmation, write_confirmation
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.surrogate.expected_scores import compute_expectations
from allocator.workers.score_adapters import score_adapters
from allocator.workers.setup import TrainingSetup

CANDIDATES = 3
"""Allocations that are trained again, beside the baseline."""


def confirm_best(
    study: SearchStudy,
    worker: TrainingSetup,
    dev: Examples,
    console: Console,
    *,
    devices: Devices,
    seeds: int,
) -> None:
    """Train what is missing, choose on held-out scores, and score the choice on dev.

    Args:
        study: A study with completed trials.
        worker: What every worker of the study knows.
        dev: The official dev split.
        console: Where each training is shown as it ends.
        devices: Where workers run.
        seeds: How many, from the one after the study's on.

    Raises:
        StudyError: If no trial was completed, or workers keep dying.
        KeyboardInterrupt: If the user interrupts; what has ended is recorded.
    """
    trials = _candidates(study)
    first = study.config.training.seed + 1
    other_seeds = range(first, first + seeds)
    numbers = ", ".join(str(trial.number) for trial in trials)
    console.print(
        f"\nconfirming trials {numbers} with seeds {', '.join(map(str, other_seeds))}",
        highlight=False,
    )
    records = train_list(
        worker,
        make_list_config(study.config, {_name(t.number): _listed(study, t) for t in trials}),
        study.folder / FOLDER,
        console,
        devices=devices,
        slots=study.slots,
        seeds=other_seeds,
        keeps_adapters=True,
    )
    rows = [
        {
            "trial": trial.number,
            "is_baseline": bool(trial.user_attrs.get("baseline")),
            "seed": seed,
            "held_out": reports[-1].score,
        }
        for trial in trials
        for seed in other_seeds
        if (reports := records.reports(_name(trial.number), seed))
    ]
    if not rows:
        return  # all were given up, which was said as they were
    best = Confirmation(scores=pd.DataFrame(rows)).best
    reported = [row for row in rows if row["is_baseline"] or row["trial"] == best]
    paths = [records.adapter_path(_name(int(row["trial"])), int(row["seed"])) for row in reported]
    for row, score in zip(reported, _dev_scores(worker, paths, dev, devices.here), strict=True):
        row["dev"] = score
    write_confirmation(study.folder, Confirmation(scores=pd.DataFrame(rows)))


def _candidates(study: SearchStudy) -> list[FrozenTrial]:
    """List the baseline and the trials that are expected to score best."""
    expected = compute_expectations(study.space, study.trials, final_step=study.final_step)
    trials = [e.trial for e in sorted(expected, key=lambda e: -e.mean)]
    baseline = [trial for trial in trials if trial.user_attrs.get("baseline")]
    others = [trial for trial in trials if not trial.user_attrs.get("baseline")]
    return baseline + others[:CANDIDATES]


def _name(trial: int) -> str:
    return f"trial-{trial}"


def _listed(study: SearchStudy, trial: FrozenTrial) -> ListedAllocation:
    spec = adapter_spec(study.config.space, study.space.variant(trial.params).shape)
    return make_listed_allocation(spec, study.space.allocation(trial.params))


def _dev_scores(
    worker: TrainingSetup, paths: Sequence[Path], dev: Examples, device: str
) -> list[float]:
    """Score trainings on dev, by their adapters' files; one without a file has collapsed."""
    kept = [path for path in paths if path.exists()]
    scores = dict(zip(kept, score_adapters(worker, kept, dev, device), strict=True))
    majority = compute_majority_score(worker.task.metric, worker.train.labels, dev.labels).value
    return [scores.get(path, majority) for path in paths]
