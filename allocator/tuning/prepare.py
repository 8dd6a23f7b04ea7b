"""From what a user asked to everything a search needs, checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from allocator.allocation import budget_parameters
from allocator.config import Precision, SearchConfig
from allocator.errors import StudyError, unknown
from allocator.training.data_sources import TaskData
from allocator.training.trained import CONFIG_FILE
from allocator.training.worker import WorkerConfig
from allocator.tuning.build_space import build_space
from allocator.tuning.pruning import PRUNERS
from allocator.tuning.samplers import SAMPLERS
from allocator.tuning.setting import Setting, prepare_setting, study_name
from allocator.tuning.space import Space
from allocator.tuning.space_file import SpaceFile, read_space
from allocator.tuning.storage import storage_url
from allocator.tuning.study import adapter_spec, baseline_params
from allocator.tuning.study_config import StudyConfig, read_study_config


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedSearch:
    """A search that is ready to run.

    Attributes:
        study: What all trials share.
        space: The search space on the model, under the budget.
        data: The task's data.
        worker: What every worker must know.
        devices: One worker each.
        folder: The study's folder.
        url: URL of the study's storage.
    """

    study: StudyConfig
    space: Space
    data: TaskData
    worker: WorkerConfig
    devices: tuple[str, ...]
    folder: Path
    url: str


def prepare(config: SearchConfig) -> PreparedSearch:
    """Find model and data, place the space on the model, and check everything a user gave.

    Raises:
        AllocatorError: For every mistake that can be known before a trial runs.
    """
    _require_known(config)
    space_file = read_space(config.space)
    if config.targets is not None:
        space_file = space_file.model_copy(update={"targets": config.targets})
    setting = prepare_setting(config, space_file.targets)
    budget = budget_parameters(config.budget, setting.backbone)
    space = build_space(space_file, setting.backbone, budget)
    preset = [] if config.space == "tenslora_plus" else [Path(config.space).stem]
    name = study_name(config, setting.data, budget, *preset)
    folder = config.studies_dir / name
    study = _study_config(config, setting, name, space_file, space)
    return PreparedSearch(
        study=study,
        space=space,
        data=setting.data,
        worker=setting.worker(
            study.precision,
            spec=adapter_spec(space_file, space.shape),
            typical=space.allocation(baseline_params(space)),
        ),
        devices=setting.devices,
        folder=folder,
        url=storage_url(config.storage, folder),
    )


def _require_known(config: SearchConfig) -> None:
    for kind, value, known in (
        ("sampler", config.sampler, SAMPLERS),
        ("pruner", config.pruner, PRUNERS),
    ):
        if value not in known:
            raise StudyError(unknown(kind, value, known))


def _study_config(
    config: SearchConfig, setting: Setting, name: str, space_file: SpaceFile, space: Space
) -> StudyConfig:
    shared = setting.shared(name, _recorded_precision(config.studies_dir / name))
    return StudyConfig(
        **dict(shared),
        budget=space.feasible.budget,
        space_name=config.space,
        space=space_file,
        sampler=config.sampler,
        pruner=config.pruner,
    )


def _recorded_precision(folder: Path) -> Precision | None:
    """Read the precision that was probed when a study began: it keeps that."""
    recorded = folder / CONFIG_FILE
    return read_study_config(recorded).precision if recorded.exists() else None
