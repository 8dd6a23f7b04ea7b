"""Open a study in its folder, for one process at a time and with one configuration."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from allocator.coordination.list_config import read_shared_config
from allocator.errors import StorageError, StudyError
from allocator.files.folder_lock import holds_other_files, lock_study_folder
from allocator.files.study_folder import (
    BASELINE_FOLDER,
    CONFIG_FILE,
    DATABASE_FILE,
    LOGGED_FOLDER,
    TENSORBOARD_FOLDER,
    has_trial_adapters,
    require_study,
)
from allocator.files.yaml_files import write_yaml
from allocator.tuning.samplers.make_sampler import make_sampler
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.rivals import add_rivals
from allocator.tuning.space.space import Space
from allocator.tuning.storage.objective import make_objective
from allocator.tuning.storage.storage_url import (
    choose_storage_url,
    has_storage,
    open_storage,
    printable_url,
)
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.pruning import make_pruner
from allocator.tuning.study.study import SearchStudy


@contextlib.contextmanager
def open_study(
    config: StudyConfig, space: Space, folder: Path, url: str, goal: Goal
) -> Iterator[SearchStudy]:
    """Create a study, or resume one that was made with the same configuration.

    Args:
        config: The configuration that all trials share.
        space: The search space, without rivals.
        folder: The study's folder.
        url: URL of its storage.
        goal: The number of trainings that it is to have.

    Raises:
        StudyError: If another process searches it, or it was made with another configuration.
        StorageError: If the storage does not answer.
    """
    recorded = folder / CONFIG_FILE
    is_new = _require_resumable(config, folder, url)
    # Before the lock: a storage that does not answer should leave no folder behind.
    storage = _open_storage_in_new_folder(url, folder)
    with lock_study_folder(folder):
        if is_new:
            _require_no_trials(storage, config.study, url)
        # Also on resume: versions may differ, and those of the last run are recorded.
        write_yaml(recorded, config, "What all trials of this study share.")
        study = optuna.create_study(
            study_name=config.study,
            storage=storage,
            direction=make_objective(config.decide_by, config.task).direction,
            load_if_exists=True,
            sampler=make_sampler(
                config.sampler,
                space,
                seed=config.training.seed,
                final_step=config.training.num_boundaries,
                prior_strength=config.prior_strength,
            ),
            pruner=make_pruner(
                config.pruner,
                warmup=config.training.warmup,
                final_step=config.training.num_boundaries,
            ),
        )
        _write_attributes(study, config)
        search = SearchStudy(study, add_rivals(space, config.rivals), config, folder, goal)
        # Under the lock, so that trials left running can only be those of a process that has ended.
        search.begin()
        yield search


def check_study(config: StudyConfig, folder: Path, url: str) -> None:
    """Refuse the folder and the storage that `open_study` would refuse, and make no study.

    Raises:
        StudyError: As for `open_study`, or if the folder cannot be made.
        StorageError: If the storage does not answer.
    """
    is_new = _require_resumable(config, folder, url)
    # A folder that is missing is made in the nearest one that exists.
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(place, os.W_OK):
        raise StudyError(f"{folder} cannot be made: {place} is not writable")
    if place == folder:
        with lock_study_folder(folder):
            pass  # nobody else searches it
    if has_storage(url):
        storage = open_storage(url)
        if is_new:
            _require_no_trials(storage, config.study, url)


def _require_resumable(config: StudyConfig, folder: Path, url: str) -> bool:
    """Refuse a folder that holds something else, or another study; return whether it is new."""
    recorded = folder / CONFIG_FILE
    if recorded.exists():
        config.require_same(read_shared_config(recorded, StudyConfig))
        _require_database(folder, url)
        return False
    # A baseline may be trained before the study, and a process may be killed between the creation
    # of the database and that of the configuration.
    if holds_other_files(
        folder, f"{BASELINE_FOLDER}*", f"{DATABASE_FILE}*", TENSORBOARD_FOLDER, LOGGED_FOLDER
    ):
        raise StudyError(f"{folder} is not empty and holds no {CONFIG_FILE}; give another --study")
    return True


@contextlib.contextmanager
def load_study(folder: Path, url: str | None) -> Iterator[SearchStudy]:
    """Open an existing study, to read it and export from it.

    Args:
        folder: The study's folder.
        url: URL of its storage, in place of the file in its folder.

    Raises:
        StudyError: If there is no such study, or another process searches it.
        StorageError: If the storage does not answer.
    """
    require_study(folder)
    config = read_shared_config(folder / CONFIG_FILE, StudyConfig)
    searched = build_space(config.space, config.backbone, config.budget, config.smaller_budgets)
    space = add_rivals(searched, config.rivals)
    url = choose_storage_url(url, folder)
    _require_database(folder, url)
    storage = open_storage(url)
    with lock_study_folder(folder):
        try:
            study = optuna.load_study(study_name=config.study, storage=storage)
        except KeyError:
            raise StudyError(
                f"study {config.study!r} is not in {printable_url(url)}; "
                "give the --storage that its search used"
            ) from None
        # Nothing is trained: the goal is what the study has.
        yield SearchStudy(study, space, config, folder, Goal(trials=0, verdict_seeds=0))


def _require_database(folder: Path, url: str) -> None:
    """Refuse to create a database beside adapters of trials that are in another storage."""
    if (
        has_trial_adapters(folder)
        and url == choose_storage_url(None, folder)
        and not (folder / DATABASE_FILE).exists()
    ):
        raise StudyError(
            f"study {folder.name!r} has trials but no {DATABASE_FILE}; "
            "give the --storage that its search used"
        )


def _require_no_trials(storage: BaseStorage, name: str, url: str) -> None:
    """Refuse a storage whose study of this name has trials: their adapters are elsewhere."""
    # KeyError: the storage has no study of this name, as it should be.
    with contextlib.suppress(KeyError):
        study_id = storage.get_study_id_from_name(name)
        if storage.get_all_trials(study_id, deepcopy=False):
            raise StudyError(
                f"{printable_url(url)} has a study {name!r} of another folder; search it there, "
                "or name another study with --study"
            )


def _open_storage_in_new_folder(url: str, folder: Path) -> BaseStorage:
    """Create the study's folder and open its storage; remove the folder if that fails."""
    # Deepest first, the order in which `rmdir` can remove them.
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open_storage(url)
    except OSError as problem:
        raise StudyError(f"{folder} cannot be made: {problem.strerror}") from None
    except StorageError:
        with contextlib.suppress(OSError):  # another search may use one by now
            for path in made:
                path.rmdir()
        raise


def _write_attributes(study: optuna.Study, config: StudyConfig) -> None:
    """Write the study's configuration into its attributes, or compare it with the recorded one."""
    recorded = study.user_attrs.get("config")
    if recorded is not None:
        config.require_same(StudyConfig.model_validate(recorded))
        return
    with warnings.catch_warnings():
        # The dashboard names the values by it; Optuna calls the method experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([make_objective(config.decide_by, config.task).name])
    # Parts of `config` for people who look at the dashboard, before it, which is long.
    study.set_user_attr("task", config.task.name)
    study.set_user_attr("data", config.task.source)
    study.set_user_attr("model", config.model.name)
    study.set_user_attr("budget", config.budget)
    if config.smaller_budgets:
        study.set_user_attr("smaller budgets", list(config.smaller_budgets))
    study.set_user_attr("scored on", config.select_on)
    study.set_user_attr("decided by", config.decide_by)
    study.set_user_attr("config", config.model_dump(mode="json"))
