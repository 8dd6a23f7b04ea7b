"""The adapter that a study hands over: its choice, trained on all of train, or one of its seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allocator.config import Calibration
from allocator.coordination.records import Records
from allocator.files.study_folder import DELIVERED_FOLDER
from allocator.training.calibration import average_calibrations
from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.storage.trial_memory import read_calibration, read_seed
from allocator.tuning.study.study import SearchStudy

_ATTEMPTS = 3
_SEEDS = 2**32  # as many as there are


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """The adapter that a study hands over.

    Attributes:
        path: Its file.
        seed: Seed of its training.
        training: What it was trained on, in words.
    """

    path: Path
    seed: int
    training: str


def find_delivered(study: SearchStudy, choice: TriedAllocation) -> Delivered:
    """Find the adapter of a study's choice: trained on all of train, if that was completed.

    Otherwise it is the choice's training of middle value, and of two in the middle the worse,
    because the best of several would look better than those to come.
    """
    trained = find_trained_on_all(study, choice)
    if trained is not None:
        return trained
    values = study.objective.sign * np.array([trial.values[0] for trial in choice.completed])
    order = np.argsort(values, kind="stable")
    trial = choice.completed[int(order[(len(order) - 1) // 2])]
    seed = read_seed(trial)
    examples = (
        "all of train" if study.config.select_on == "dev" else f"what seed {seed} does not hold out"
    )
    return Delivered(
        path=study.adapter_path(trial.number),
        seed=seed,
        training=f"trial {trial.number}, trained on {examples}",
    )


def find_trained_on_all(study: SearchStudy, choice: TriedAllocation) -> Delivered | None:
    """Find the adapter of a choice that was trained on all of train; None if there is none."""
    records = Records(study.folder / DELIVERED_FOLDER)
    for seed in list_delivery_seeds(study):
        path = records.adapter_path(name_delivered(choice), seed)
        if path.exists():
            return Delivered(path=path, seed=seed, training="trained on all of train")
    return None


def list_delivery_seeds(study: SearchStudy) -> list[int]:
    """List the seeds to train a choice on all of train with, each if all before it collapsed.

    It may collapse with one seed, and have been completed with all that chose it.
    """
    return [(study.config.training.seed + attempt) % _SEEDS for attempt in range(_ATTEMPTS)]


def name_delivered(choice: TriedAllocation) -> str:
    """Name the training of a choice on all of train, by the first trial of its allocation."""
    return f"trial-{choice.trials[0].number}"


def average_calibration(choice: TriedAllocation) -> Calibration | None:
    """Average the calibrations of the completed trainings of a choice; None if there is none."""
    calibrations = [read_calibration(trial) for trial in choice.completed]
    found = [calibration for calibration in calibrations if calibration is not None]
    return average_calibrations(found) if found else None
