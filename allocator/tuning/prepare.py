"""From what a user asked to everything a search needs, checked before anything runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from allocator.adapters.recipe import ModelSection, TaskSection
from allocator.allocation import budget_parameters
from allocator.config import SearchConfig
from allocator.errors import StudyError, unknown
from allocator.training.backbone import read_backbone_shape
from allocator.training.data_sources import TaskData, load_task
from allocator.training.devices import available_threads, require_devices, visible_devices
from allocator.training.inputs import load_reader
from allocator.training.models import ModelSource, locate_model
from allocator.training.precision import choose_precision
from allocator.training.splits import split_held_out
from allocator.training.trained import CONFIG_FILE
from allocator.training.worker import WorkerConfig
from allocator.tuning.build_space import build_space
from allocator.tuning.priors import read_starts, require_prior, require_prior_study
from allocator.tuning.pruning import PRUNERS
from allocator.tuning.samplers import SAMPLERS
from allocator.tuning.space import Space
from allocator.tuning.space_file import SpaceFile, read_space
from allocator.tuning.storage import storage_url
from allocator.tuning.study import adapter_spec, baseline_params
from allocator.tuning.study_config import StudyConfig, read_study_config

_VERSIONED = ("allocator", "torch", "transformers", "datasets", "optuna", "scipy")


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
    model = locate_model(config.model, config.model_cache)
    backbone = read_backbone_shape(model, space_file.targets)
    budget = budget_parameters(config.budget, backbone)
    space = build_space(space_file, backbone, budget)
    data = load_task(
        config.task,
        source=config.data_source,
        data_dir=config.data_dir,
        fallback_dir=config.fallback_data_dir,
    )
    # A worker loads it again; what is wrong with it is said here.
    load_reader(model, data.task, max_length=config.training.max_length, device=torch.device("cpu"))
    name = config.study or _default_name(config, data, budget)
    folder = config.studies_dir / name
    devices = config.devices or tuple(visible_devices())
    if not (folder / CONFIG_FILE).exists():  # a study keeps the prior that it began with
        require_prior_study(config.prior, space, config.studies_dir)
    study = _study_config(config, name, space_file, space, model, data, devices[0])
    return PreparedSearch(
        study=study,
        space=space,
        data=data,
        worker=_worker_config(config, study, space, model, data, len(devices)),
        devices=devices,
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
    require_prior(config.prior)
    if config.study is not None and not re.fullmatch(r"[\w][\w.-]*", config.study):
        raise StudyError(
            f"study must be a plain name of letters, digits, dots, dashes, got {config.study!r}"
        )
    require_devices(config.devices or ())


def _default_name(config: SearchConfig, data: TaskData, budget: int) -> str:
    parts = [data.task.name, Path(config.model).name, budget]
    if config.space != "tenslora_plus":
        parts.append(Path(config.space).stem)
    if config.select_on == "dev":
        parts.append("selected-on-dev")
    return re.sub(r"[^\w.-]+", "-", "-".join(map(str, parts)))


def _study_config(
    config: SearchConfig,
    name: str,
    space_file: SpaceFile,
    space: Space,
    model: ModelSource,
    data: TaskData,
    device: str,
) -> StudyConfig:
    # A study keeps the precision that was probed when it began.
    recorded = config.studies_dir / name / CONFIG_FILE
    precision = config.precision
    if precision is None and recorded.exists():
        precision = read_study_config(recorded).precision
    if precision is None:
        precision = choose_precision(torch.device(device), space.shape.backbone.d_in)
    return StudyConfig(
        study=name,
        budget=space.feasible.budget,
        model=ModelSection(name=config.model, sha256=model.sha256),
        task=TaskSection(
            name=data.task.name,
            text_columns=data.task.text_columns,
            labels=data.task.labels,
            source=data.source,
            fingerprint=data.fingerprint,
            metric=data.task.metric,
        ),
        select_on=config.select_on,
        space_name=config.space,
        space=space_file,
        backbone=space.shape.backbone,
        training=config.training,
        precision=precision,
        sampler=config.sampler,
        pruner=config.pruner,
        prior=config.prior,
        prior_strength=config.prior_strength,
        start=tuple(dict(params) for params in read_starts(config.start, space)),
        versions={package: version(package) for package in _VERSIONED},
    )


def _worker_config(
    config: SearchConfig,
    study: StudyConfig,
    space: Space,
    model: ModelSource,
    data: TaskData,
    workers: int,
) -> WorkerConfig:
    if config.select_on == "dev":
        train, scoring = data.train, data.dev
    else:
        train, scoring = split_held_out(data.train, task=data.task, seed=config.training.seed)
    return WorkerConfig(
        model=model,
        spec=adapter_spec(study.space, space.shape),
        task=data.task,
        train=train,
        scoring=scoring,
        training=config.training,
        precision=study.precision,
        threads=max(1, available_threads() // workers),
        typical=space.allocation(baseline_params(space)),
    )
