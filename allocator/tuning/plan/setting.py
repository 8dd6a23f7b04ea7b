"""What every command that trains needs first: model, data and devices, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from allocator.allocation import Allocation, BackboneShape
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.backbone.exactness import choose_forward_path
from allocator.config import Precision, RunConfig
from allocator.coordination.list_config import SharedConfig
from allocator.coordination.protocols import Devices
from allocator.data.held_out import split_held_out
from allocator.data.sources import TaskData, load_task
from allocator.errors import DeviceError, StudyError
from allocator.files.recipe import ModelSection, TaskSection
from allocator.inputs.reader import load_reader
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import ModelSource, locate_model
from allocator.workers.local_devices import LocalDevices
from allocator.workers.setup import TrainingSetup

_VERSIONED = ("allocator", "torch", "transformers", "datasets", "optuna", "scipy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where trials train.

    Attributes:
        config: What was asked.
        model: The pretrained model.
        backbone: Its shape.
        data: The task's data.
        devices: Where workers run.
    """

    config: RunConfig
    model: ModelSource
    backbone: BackboneShape
    data: TaskData
    devices: Devices

    def shared(self, study: str, recorded: Precision | None) -> SharedConfig:
        """Say what all trainings share.

        Args:
            study: Name of the study.
            recorded: Precision that the study was begun with, which it keeps.
        """
        config, task = self.config, self.data.task
        precision = config.precision or recorded
        return SharedConfig(
            study=study,
            model=ModelSection(name=config.model, sha256=self.model.sha256),
            task=TaskSection(
                name=task.name,
                text_columns=task.text_columns,
                labels=task.labels,
                source=self.data.source,
                fingerprint=self.data.fingerprint,
                metric=task.metric,
            ),
            select_on=config.select_on,
            backbone=self.backbone,
            training=config.training,
            precision=precision or self.devices.choose_precision(self.backbone.d_in),
            versions={package: version(package) for package in _VERSIONED},
        )

    def worker(
        self, precision: Precision, *, spec: AdapterSpec, typical: Allocation
    ) -> TrainingSetup:
        """Say what every worker must know, once it is known how the model is run.

        Args:
            precision: Of the frozen weights.
            spec: As for `TrainingSetup`.
            typical: As for `TrainingSetup`.

        Raises:
            ModelError: If the model cannot be trained exactly.
            DataError: If an example holds nothing to read.
        """
        data, seed = self.data, self.config.training.seed
        if self.config.select_on == "dev":
            train, scoring = data.train, data.dev
        else:
            train, scoring = split_held_out(data.train, task=data.task, seed=seed)
        return TrainingSetup(
            model=self.model,
            spec=spec,
            task=data.task,
            train=train,
            scoring=scoring,
            training=self.config.training,
            precision=precision,
            threads=self.devices.threads,
            typical=typical,
            path=choose_forward_path(
                self.model,
                self.backbone.targets,
                data,
                max_length=self.config.training.max_length,
                device=torch.device(self.devices.here),
                attention_of=self.devices.kind,
            ),
        )


def prepare_setting(config: RunConfig, targets: tuple[str, ...]) -> Setting:
    """Find model and data, and check what a user gave of them.

    Args:
        config: What was asked.
        targets: Adapted projections, where `config` names none.

    Raises:
        AllocatorError: For every mistake that can be known before a trial runs.
    """
    if config.study is not None and not re.fullmatch(r"[\w][\w.-]*", config.study):
        raise StudyError(
            f"study must be a plain name of letters, digits, dots, dashes, got {config.study!r}"
        )
    devices = _devices(config)
    model = locate_model(config.model, config.model_cache)
    backbone = read_backbone_shape(model, config.targets or targets)
    data = load_task(
        config.task,
        source=config.data_source,
        data_dir=config.data_dir,
        fallback_dir=config.fallback_data_dir,
    )
    # A worker loads it again; what is wrong with it is said here.
    load_reader(model, data.task, max_length=config.training.max_length, device=torch.device("cpu"))
    return Setting(
        config=config,
        model=model,
        backbone=backbone,
        data=data,
        devices=devices,
    )


def _devices(config: RunConfig) -> Devices:
    if config.ray is None:
        return LocalDevices(config.devices)
    if config.devices is not None:
        raise DeviceError("--ray takes all devices of the cluster; leave out --devices")
    try:
        from allocator.workers.ray_devices import RayDevices  # noqa: PLC0415
    except ModuleNotFoundError:
        raise DeviceError("--ray needs Ray; run: pip install 'allocator[ray]'") from None
    return RayDevices(config.ray)


def study_name(config: RunConfig, data: TaskData, *parts: str | int) -> str:
    """Name a study: as asked, or by task, model and what else tells it from others."""
    if config.study is not None:
        return config.study
    everything = [data.task.name, Path(config.model).name, *parts]
    if config.select_on == "dev":
        everything.append("selected-on-dev")
    return re.sub(r"[^\w.-]+", "-", "-".join(map(str, everything)))
