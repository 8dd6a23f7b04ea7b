"""Planning steps that all commands which train share."""

from __future__ import annotations

import dataclasses
import math
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.backbone.exactness import choose_forward_path
from allocator.config import Precision, TrainingConfig
from allocator.coordination.list_config import SharedConfig
from allocator.coordination.protocols import Devices
from allocator.data.sources import TaskData, load_task
from allocator.errors import AllocatorError, DeviceError
from allocator.files.recipe import ModelSection, TaskSection
from allocator.inputs.reader import load_reader
from allocator.inputs.text_lengths import describe_cuts
from allocator.models.model_source import ModelSource
from allocator.tuning.plan.run_config import RunConfig
from allocator.workers.local_devices import LocalDevices
from allocator.workers.setup import TrainingSetup

# For people who read `config.yaml`; a study goes on with other versions.
_VERSIONED = ("allocator", "torch", "transformers", "datasets", "optuna", "scipy")


def find_devices(config: RunConfig) -> Devices:
    """Find the devices that workers run on: this machine's, or those of a Ray cluster.

    Raises:
        DeviceError: If one of them does not exist, or the cluster does not answer.
    """
    if config.ray is None:
        return LocalDevices(config.devices)
    if config.devices is not None:
        raise DeviceError("--ray takes all devices of the cluster; leave out --devices")
    try:
        from allocator.workers.ray_devices import RayDevices  # noqa: PLC0415  # an optional package
    except ModuleNotFoundError:
        raise DeviceError("--ray needs Ray; run: pip install 'allocator[ray]'") from None
    return RayDevices(config.ray)


def load_task_data(config: RunConfig, model: ModelSource) -> TaskData:
    """Load the task's data, and check that the model reads examples of its kind.

    Returns:
        The data, with a remark if texts are cut.

    Raises:
        AllocatorError: If the task is unknown, its data are missing or damaged, or the model lacks
            a tokenizer or an image processor.
    """
    data = load_task(
        config.task,
        source=config.data_source,
        data_dir=config.data_dir,
        fallback_dir=config.fallback_data_dir,
        limit=config.limit,
    )
    max_length = config.training.max_length
    # Workers load their own readers; loading one here finds problems before any worker starts.
    load_reader(model, data.task, max_length=max_length, device=torch.device("cpu"))
    if data.task.is_of_images:
        return data
    cuts = describe_cuts(model, data.train, max_length=max_length)
    return data if cuts is None else dataclasses.replace(data, remarks=(*data.remarks, cuts))


def name_study(config: RunConfig, data: TaskData, *parts: str | int) -> str:
    """Return the study's name: the user's, or one composed of task, model and further parts."""
    if config.study is not None:
        return config.study
    # The name has options that change the scores; others are compared with `config.yaml`.
    everything = [data.task.name, Path(config.model).name, *parts]
    if config.limit is not None:
        everything.append(f"limit-{config.limit}")
    if config.select_on == "dev":
        everything.append("selected-on-dev")
    # A task may be named by a path, and a folder's name cannot have separators.
    return re.sub(r"[^\w.-]+", "-", "-".join(map(str, everything)))


def make_shared_config(
    config: RunConfig,
    name: str,
    *,
    model: ModelSource,
    backbone: BackboneShape,
    data: TaskData,
    precision: Precision,
) -> SharedConfig:
    """Make the configuration that all trainings of a study share, as its folder records it."""
    task = data.task
    return SharedConfig(
        study=name,
        model=ModelSection(name=config.model, sha256=model.sha256),
        task=TaskSection(
            name=task.name,
            text_columns=task.text_columns,
            labels=task.labels,
            source=data.source,
            fingerprint=data.fingerprint,
            metric=task.metric,
            is_multi_label=task.is_multi_label,
            limit=config.limit,
        ),
        select_on=config.select_on,
        backbone=backbone,
        training=config.training,
        precision=precision,
        versions={package: _find_version(package) for package in _VERSIONED},
    )


def make_setup(
    config: RunConfig,
    *,
    model: ModelSource,
    data: TaskData,
    devices: Devices,
    precision: Precision,
    spec: AdapterSpec,
    typical: Allocation,
) -> TrainingSetup:
    """Choose how to run the model, and make the setup that all workers share.

    Args:
        config: The options of the command.
        model: The pretrained model.
        data: The task's data.
        devices: The devices that workers run on.
        precision: Number format of the frozen weights.
        spec: As for `TrainingSetup`.
        typical: As for `TrainingSetup`.

    Raises:
        ModelError: If the model cannot be trained exactly.
        DataError: If an example holds nothing to read.
        AllocatorError: If an epoch has fewer steps than boundaries.
    """
    training = config.training
    setup = TrainingSetup(
        model=model,
        spec=spec,
        task=data.task,
        train=data.train,
        # Dev as in published protocols; the study records it.
        scoring=data.dev if config.select_on == "dev" else None,
        training=training,
        precision=precision,
        threads=devices.threads,
        typical=typical,
        path=choose_forward_path(
            model,
            spec.shape.backbone.targets,
            data,
            max_length=training.max_length,
            device=torch.device(devices.here),
            # `here` may be a CPU while workers train on GPUs, whose attention is another.
            attention_of=devices.kind,
        ),
    )
    _require_step_for_each_boundary(training, setup.num_train)
    return setup


def _require_step_for_each_boundary(training: TrainingConfig, num_examples: int) -> None:
    """Refuse more boundaries than steps in an epoch, which would crash every worker."""
    steps = math.ceil(num_examples / training.batch_size)
    if training.boundaries_per_epoch > steps:
        raise AllocatorError(
            f"--boundaries-per-epoch can be at most {steps}, the steps of an epoch of "
            f"{num_examples:,} examples, got {training.boundaries_per_epoch}; lower it, "
            "or --batch-size"
        )


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a folder of the sources that was not installed
        return "unknown"
