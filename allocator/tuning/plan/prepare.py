"""From what a user asked to everything a search needs, checked before anything runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from allocator.allocation import count_budget_parameters
from allocator.config import Precision, SearchConfig, SpaceConfig
from allocator.coordination.list_config import SharedConfig, read_list_config
from allocator.coordination.protocols import Devices
from allocator.data.sources import TaskData
from allocator.errors import StudyError, describe_unknown
from allocator.files.study_layout import CONFIG_FILE, FOLDER
from allocator.tuning.plan.setting import prepare_setting, study_name
from allocator.tuning.priors.make_prior import require_prior, require_prior_study
from allocator.tuning.priors.start_files import read_starts
from allocator.tuning.samplers.make_sampler import SAMPLERS
from allocator.tuning.space.build_space import adapter_spec, build_space
from allocator.tuning.space.space import Space, make_baseline_params
from allocator.tuning.space.space_file import SpaceFile, read_space
from allocator.tuning.storage.storage_url import choose_storage_url
from allocator.tuning.storage.study_config import StudyConfig, read_study_config
from allocator.tuning.study.pruning import PRUNERS
from allocator.workers.setup import TrainingSetup


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedSpace:
    """A search space on a model, under a budget, with the data that trials train on.

    Attributes:
        shared: What all trials share.
        space_name: What the user called the space.
        space_file: The space as it was read.
        space: The space on the model, under the budget.
        data: The task's data.
        worker: What every worker must know.
        devices: Where workers run.
        folder: The study's folder.
    """

    shared: SharedConfig
    space_name: str
    space_file: SpaceFile
    space: Space
    data: TaskData
    worker: TrainingSetup
    devices: Devices
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedSearch(PreparedSpace):
    """A search that is ready to run.

    Attributes:
        study: The study's configuration.
        url: URL of the study's storage.
    """

    study: StudyConfig
    url: str


def prepare(config: SearchConfig) -> PreparedSearch:
    """Find model and data, place the space on the model, and check everything a user gave.

    Raises:
        AllocatorError: For every mistake that can be known before a trial runs.
    """
    _require_known(config)
    prepared = prepare_space(config)
    if not (prepared.folder / CONFIG_FILE).exists():  # a study keeps the prior that it began with
        require_prior_study(config.prior, prepared.space, config.studies_dir)
    fields = {field.name: getattr(prepared, field.name) for field in dataclasses.fields(prepared)}
    study = StudyConfig(
        **dict(prepared.shared),
        budget=prepared.space.feasible.budget,
        space_name=config.space,
        space=prepared.space_file,
        sampler=config.sampler,
        pruner=config.pruner,
        prior=config.prior,
        prior_strength=config.prior_strength,
        start=tuple(dict(params) for params in read_starts(config.start, prepared.space)),
    )
    return PreparedSearch(
        **fields, study=study, url=choose_storage_url(config.storage, prepared.folder)
    )


def prepare_space(config: SpaceConfig) -> PreparedSpace:
    """Find model and data, and place the space on the model; errors as for `prepare`."""
    file = read_space(config.space)
    if config.targets is not None:
        file = file.model_copy(update={"targets": config.targets})
    setting = prepare_setting(config, file.targets)
    budget = count_budget_parameters(config.budget, setting.backbone)
    space = build_space(file, setting.backbone, budget)
    preset = [] if config.space == "tenslora_plus" else [Path(config.space).stem]
    name = study_name(config, setting.data, budget, *preset)
    folder = config.studies_dir / name
    shared = setting.shared(name, _recorded_precision(folder))
    return PreparedSpace(
        shared=shared,
        space_name=config.space,
        space_file=file,
        space=space,
        data=setting.data,
        worker=setting.worker(
            shared.precision,
            spec=adapter_spec(file, space.shape),
            typical=space.allocation(make_baseline_params(space)),
        ),
        devices=setting.devices,
        folder=folder,
    )


def _require_known(config: SearchConfig) -> None:
    for kind, value, known in (
        ("sampler", config.sampler, SAMPLERS),
        ("pruner", config.pruner, PRUNERS),
    ):
        if value not in known:
            raise StudyError(describe_unknown(kind, value, known))
    require_prior(config.prior)


def _recorded_precision(folder: Path) -> Precision | None:
    """Read the precision that was probed when a study, or its baseline, began: it keeps that."""
    if (folder / CONFIG_FILE).exists():
        return read_study_config(folder / CONFIG_FILE).precision
    baselines = sorted(folder.glob(f"{FOLDER}*/{CONFIG_FILE}"))
    return read_list_config(baselines[0]).precision if baselines else None
