"""Train a study's best allocations and its baseline again with other seeds, and choose by them.

The highest of many noisy scores is partly luck, and so is the expectation of a surrogate that was
fitted to it. Scores with seeds that the search has not used are free of that luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from optuna.trial import FrozenTrial
from rich.console import Console

from allocator.coordination.list_config import ListConfig
from allocator.coordination.train_list import train_list
from allocator.data.metrics import compute_majority_score
from allocator.files.adapter_section import ListedAllocation
from allocator.files.study_folder import CONFIRMATION_FOLDER
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.space.build_space import make_adapter_spec
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import is_baseline
from allocator.tuning.study.confirmation import Confirmation, write_confirmation
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.surrogate.expected_scores import compute_expectations
from allocator.workers.score_adapters import score_adapters

CANDIDATES = 3
"""Number of allocations that are trained again, besides the baseline."""


def confirm_best(
    study: SearchStudy, plan: Plan[StudyConfig], console: Console, *, seeds: int
) -> None:
    """Train what is missing, choose by held-out scores, and score the choice on dev.

    Args:
        study: A study with completed trials.
        plan: The plan of the search.
        console: Console on which each training is shown as it ends.
        seeds: Number of seeds, counted from the one after the study's.

    Raises:
        StudyError: If no trial was completed, or workers keep dying.
        KeyboardInterrupt: If the user interrupts; what has ended is recorded.
    """
    trials = _list_candidates(study)
    # Seeds that the search has not used, so that its luck does not affect their scores.
    first = study.config.training.seed + 1
    other_seeds = range(first, first + seeds)
    numbers = ", ".join(str(trial.number) for trial in trials)
    console.print(
        f"\nconfirming trials {numbers} with seeds {', '.join(map(str, other_seeds))}",
        highlight=False,
    )
    records = train_list(
        plan.setup,
        ListConfig.of(
            study.config, {_name_training(t.number): _describe_allocation(study, t) for t in trials}
        ),
        study.folder / CONFIRMATION_FOLDER,
        console,
        devices=plan.devices,
        slots=study.slots,
        seeds=other_seeds,
        # Dev is scored from these files, without training again.
        keeps_adapters=True,
    )
    rows = [
        {
            "trial": trial.number,
            "is_baseline": is_baseline(trial),
            "seed": seed,
            "held_out": reports[-1].score,
        }
        for trial in trials
        for seed in other_seeds
        # A training that was given up has no reports.
        if (reports := records.read_reports(_name_training(trial.number), seed))
    ]
    if not rows:
        return  # all trainings were given up, and a line was printed for each
    best = Confirmation(scores=pd.DataFrame(rows)).best
    # Dev is scored only after the choice, so that it cannot influence it.
    reported = [row for row in rows if row["is_baseline"] or row["trial"] == best]
    paths = [
        records.adapter_path(_name_training(int(row["trial"])), int(row["seed"]))
        for row in reported
    ]
    for row, score in zip(reported, _score_on_dev(plan, paths), strict=True):
        row["dev"] = score
    write_confirmation(study.folder, Confirmation(scores=pd.DataFrame(rows)))


def _list_candidates(study: SearchStudy) -> list[FrozenTrial]:
    """List the baseline and the trials that are expected to score best."""
    expected = compute_expectations(study.space, study.trials, final_step=study.final_step)
    trials = [e.trial for e in sorted(expected, key=lambda e: -e.mean)]
    baseline = [trial for trial in trials if is_baseline(trial)]
    others = [trial for trial in trials if not is_baseline(trial)]
    # The baseline is always trained again, for a comparison with the same seeds.
    return baseline + others[:CANDIDATES]


def _name_training(trial: int) -> str:
    return f"trial-{trial}"


def _describe_allocation(study: SearchStudy, trial: FrozenTrial) -> ListedAllocation:
    spec = make_adapter_spec(study.config.space, study.space.find_variant(trial.params).shape)
    return ListedAllocation.from_allocation(spec, study.space.make_allocation(trial.params))


def _score_on_dev(plan: Plan[StudyConfig], paths: Sequence[Path]) -> list[float]:
    """Score trainings on dev, by their adapters' files; one without a file has collapsed."""
    setup, dev = plan.setup, plan.data.dev
    kept = [path for path in paths if path.exists()]
    scores = dict(zip(kept, score_adapters(setup, kept, dev, plan.devices.here), strict=True))
    majority = compute_majority_score(setup.task.metric, setup.train.labels, dev.labels).value
    return [scores.get(path, majority) for path in paths]
