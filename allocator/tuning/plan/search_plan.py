"""Plan a search or a baseline: find and check what the user asked, and place it on the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from allocator.allocation.budget import count_budget_parameters
from allocator.config import Precision
from allocator.coordination.list_config import ListConfig, SharedConfig, read_shared_config
from allocator.coordination.protocols import Devices
from allocator.data.sources import TaskData
from allocator.files.study_folder import CONFIG_FILE, list_baseline_configs
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import locate_model
from allocator.progress.run_progress import CHECKING, Announce, say_nothing
from allocator.tuning.plan.run_config import SpaceConfig
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.training_plan import (
    find_devices,
    load_task_data,
    make_setup,
    make_shared_config,
    name_study,
)
from allocator.tuning.priors.make_prior import require_prior_study
from allocator.tuning.priors.start_files import read_starts
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.rivals import add_rivals, choose_rivals
from allocator.tuning.space.space import Space, make_baseline_params
from allocator.tuning.space.space_file import SpaceFile, read_space
from allocator.tuning.storage.study_config import StudyConfig
from allocator.workers.setup import TrainingSetup

Recorded = TypeVar("Recorded", bound=SharedConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan(Generic[Recorded]):
    """The plan of a search or of a baseline: everything that will run.

    Attributes:
        recorded: The configuration that all trainings share, as the study's folder records it.
        space_name: The space's name or path, as the user wrote it.
        space_file: The space as it was read.
        space: The space, placed on the model within the budget.
        data: The task's data.
        setup: The setup that all workers share.
        devices: The devices that workers run on.
        folder: The study's folder.
    """

    recorded: Recorded
    space_name: str
    space_file: SpaceFile
    space: Space
    data: TaskData
    setup: TrainingSetup
    devices: Devices
    folder: Path


def plan_search(config: SearchConfig, announce: Announce = say_nothing) -> Plan[StudyConfig]:
    """Plan a search.

    Args:
        config: The options of the command.
        announce: Told what is looked for and checked.

    Raises:
        AllocatorError: For every mistake that can be known before a trial runs.
    """
    return plan_space(config, partial(_make_study_config, config), announce)


def plan_space(
    config: SpaceConfig,
    record: Callable[[SharedConfig, SpaceFile, Space], Recorded],
    announce: Announce = say_nothing,
) -> Plan[Recorded]:
    """Find model and data, place the space on the model, and check the options.

    Args:
        config: The options of the command.
        record: Makes the configuration to record, from what all trainings share and the space.
        announce: Told what is looked for and checked.

    Raises:
        AllocatorError: For every mistake that can be known before a trial runs.
    """
    file = read_space(config.space)
    if config.targets is not None:
        file = file.model_copy(update={"targets": config.targets})
    announce("finding devices and the model")
    devices = find_devices(config)
    model = locate_model(config.model, config.model_cache)
    backbone = read_backbone_shape(model, file.targets)
    announce("loading the task")
    data = load_task_data(config, model)
    # From here on a budget is a number; what `lora:R` amounts to depends on the backbone.
    budgets = sorted({count_budget_parameters(budget, backbone) for budget in config.budget})
    announce("counting what fits the budget")
    space = build_space(file, backbone, budgets[-1], budgets[:-1])
    # Studies in the default space have names without it.
    preset = [] if config.space == "tenslora_plus" else [Path(config.space).stem]
    folder = config.studies_dir / name_study(config, data, *budgets, *preset)
    # A study keeps the precision that was timed when it began: another machine, or a busy one,
    # might choose another, and trials would no longer be comparable.
    announce("timing number formats")
    precision = config.precision or _read_recorded_precision(folder)
    shared = make_shared_config(
        config,
        folder.name,
        model=model,
        backbone=backbone,
        data=data,
        precision=precision or devices.choose_precision(backbone.d_in),
    )
    announce(CHECKING)
    return Plan(
        recorded=record(shared, file, space),
        space_name=config.space,
        space_file=file,
        space=space,
        data=data,
        setup=make_setup(
            config,
            model=model,
            data=data,
            devices=devices,
            precision=shared.precision,
            spec=space.variants[0].spec,
            typical=space.make_allocation(make_baseline_params(space)),
        ),
        devices=devices,
        folder=folder,
    )


def _make_study_config(
    config: SearchConfig, shared: SharedConfig, file: SpaceFile, space: Space
) -> StudyConfig:
    """Extend the shared configuration by the settings of the search."""
    rivals = choose_rivals(space) if config.rivals is None else config.rivals
    add_rivals(space, rivals)  # a mistake in their names is found before anything trains
    folder = config.studies_dir / shared.study
    if not (folder / CONFIG_FILE).exists():  # a study keeps the prior that it began with
        require_prior_study(config.prior, space, config.studies_dir)
    recorded = StudyConfig(
        **dict(shared),
        budget=space.feasible.budget,
        smaller_budgets=space.smaller_budgets,
        space_name=config.space,
        space=file,
        rivals=rivals,
        decide_by=config.decide_by,
        sampler=config.sampler,
        pruner=config.pruner,
        prior=config.prior,
        prior_strength=config.prior_strength,
        # Parameters in place of paths: what is compared on resume is what would be tried.
        start=tuple(dict(params) for params in read_starts(config.start, space)),
    )
    # Before the model is checked, which takes longer; opening the study asks once more.
    if (folder / CONFIG_FILE).exists():
        recorded.require_same(read_shared_config(folder / CONFIG_FILE, StudyConfig))
    return recorded


def _read_recorded_precision(folder: Path) -> Precision | None:
    """Read the precision that a study, or its baseline, began with and has to keep."""
    if (folder / CONFIG_FILE).exists():
        return read_shared_config(folder / CONFIG_FILE, StudyConfig).precision
    baselines = list_baseline_configs(folder)
    return read_shared_config(baselines[0], ListConfig).precision if baselines else None
