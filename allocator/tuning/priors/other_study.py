"""Prior `study:NAME`: what another study found best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from allocator.coordination.list_config import read_shared_config
from allocator.errors import SpaceError, StudyError
from allocator.files.study_folder import CONFIG_FILE, DATABASE_FILE, require_study
from allocator.tuning.priors.placing import place_allocation
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.storage_url import choose_storage_url, open_storage
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.surrogate.expected_scores import compute_expectations

_LISTED = 8


def list_best_of_study(folder: Path, space: Space) -> list[Params]:
    """List the completed trials of another study by posterior mean, the best first.

    Trials whose parameters are not in this space are left out. The study may be of another model,
    task or budget, and it may still be running.

    Args:
        folder: The other study's folder.
        space: The search space of this study.

    Raises:
        StudyError: If there is no such study, it has no completed trial, or none in this space.
        StorageError: If its storage does not answer.
    """
    require_study(folder)
    config = read_shared_config(folder / CONFIG_FILE, StudyConfig)
    theirs = build_space(config.space, config.backbone, config.budget)
    trials = _load_trials(folder, config.study)
    expected = compute_expectations(theirs, trials, final_step=config.training.num_boundaries)
    expected.sort(key=lambda e: e.mean, reverse=True)
    found: list[Params] = []
    misfits: list[SpaceError] = []
    for trial in (e.trial for e in expected):
        shape = theirs.variant(trial.params).shape
        try:
            params = place_allocation(space, shape, theirs.allocation(trial.params))
        except SpaceError as misfit:
            misfits.append(misfit)
            continue
        if params not in found:
            found.append(params)
    if not found:
        raise StudyError(
            f"--prior study:{folder.name}: no completed trial of it lies in this space; "
            f"of the best, {misfits[0]}; give another --prior"
        )
    return found[:_LISTED]


def _load_trials(folder: Path, name: str) -> Sequence[FrozenTrial]:
    try:
        if not (folder / DATABASE_FILE).exists():
            raise KeyError(name)
        storage = open_storage(choose_storage_url(None, folder))
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise StudyError(
            f"--prior study:{folder.name}: it is not in {folder / DATABASE_FILE}; "
            "studies in another storage cannot be a prior"
        ) from None
    return study.get_trials(deepcopy=False)
