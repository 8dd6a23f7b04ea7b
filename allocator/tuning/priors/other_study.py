"""Prior `study:NAME`: the best allocations of another study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from allocator.coordination.list_config import read_shared_config
from allocator.errors import SpaceError, StudyError
from allocator.files.study_folder import CONFIG_FILE, DATABASE_FILE, require_study
from allocator.tuning.evidence.expectations import compute_expectations
from allocator.tuning.priors.placing import place_allocation
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.objective import make_objective
from allocator.tuning.storage.storage_url import choose_storage_url, open_storage
from allocator.tuning.storage.study_config import StudyConfig

_NUM_LISTED = 8  # listed trials; the first few are trained again, all of them shape the density


def list_best_of_study(folder: Path, space: Space) -> list[Params]:
    """List the sound allocations of another study by posterior mean, the best first.

    Those that are not in `space` are left out. The other study may have another
    model, task or budget, and may still be running.

    Args:
        folder: The other study's folder.
        space: The search space of this study.

    Raises:
        StudyError: If there is no such study, or it has no completed trial in `space`.
        StorageError: If its storage does not answer.
    """
    require_study(folder)
    config = read_shared_config(folder / CONFIG_FILE, StudyConfig)
    # Their trials are read in their own space, and then placed into this one.
    their_space = build_space(config.space, config.backbone, config.budget)
    trials = _load_trials(folder, config.study)
    expected = compute_expectations(
        their_space,
        trials,
        final_step=config.training.num_boundaries,
        objective=make_objective(config.decide_by, config.task),
    )
    proposals: list[Params] = []
    misfits: list[SpaceError] = []
    # By posterior mean: the best of many noisy values is partly luck.
    for index in np.argsort(-expected.mean, kind="stable"):
        theirs = expected.allocations[index].params
        shape = their_space.find_variant(theirs).shape
        try:
            params = place_allocation(space, shape, their_space.make_allocation(theirs))
        except SpaceError as misfit:
            misfits.append(misfit)
            continue
        if params not in proposals:
            proposals.append(params)
    if not proposals:
        raise StudyError(
            f"--prior study:{folder.name}: no completed trial of it lies in this space; "
            f"of the best, {misfits[0]}; give another --prior"
        )
    return proposals[:_NUM_LISTED]


def _load_trials(folder: Path, study_name: str) -> Sequence[FrozenTrial]:
    try:
        # Checked first, because opening the URL of a missing SQLite file would create it.
        if not (folder / DATABASE_FILE).exists():
            raise KeyError(study_name)
        storage = open_storage(choose_storage_url(None, folder))
        study = optuna.load_study(study_name=study_name, storage=storage)
    except KeyError:
        raise StudyError(
            f"--prior study:{folder.name}: it is not in {folder / DATABASE_FILE}; "
            "studies in another storage cannot be a prior"
        ) from None
    return study.get_trials(deepcopy=False)
