"""The setup of a study's workers, and functions that load and save what it describes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from allocator.adapters.saved import serialize_adapter
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import FASTEST, Backbone, ForwardPath, load_backbone
from allocator.config import Precision, TrainingConfig
from allocator.data.held_out import Indices, split_held_out
from allocator.data.tasks import Examples, Task
from allocator.files.adapter_section import describe_adapter
from allocator.files.whole_files import write_whole
from allocator.inputs.reader import load_reader
from allocator.models.model_source import ModelSource
from allocator.training.messages import Job
from allocator.training.slot import Slot
from allocator.training.splits import Splits


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSetup:
    """The setup that a worker needs before its first trial; all workers of a study share it.

    Attributes:
        model: The pretrained model.
        spec: Shape, scaling and initialisation of the typical adapter; the adapters of all trials
            have its backbone shape.
        task: The task.
        train: Examples to train on, or to hold out.
        scoring: Examples that all trials are scored on, while they train on all of `train`; None if
            every seed holds out its own part of `train`.
        training: The training configuration of all trials.
        precision: Precision of the frozen weights.
        threads: Number of threads of a worker on a CPU.
        typical: A typical allocation, to measure how many trials a device should train together.
        path: How the backbone is run.
        trains_pooler: As for `Head`.
        most_slots: Largest number of trials that can train together, because no more are decided
            on at once; None if there is no such number.
        trainings: Number of trials that a worker will train; None if it is not known.
    """

    model: ModelSource
    spec: AdapterSpec
    task: Task
    train: Examples
    scoring: Examples | None
    training: TrainingConfig
    precision: Precision
    threads: int
    typical: Allocation
    path: ForwardPath = FASTEST
    trains_pooler: bool | None = None
    most_slots: int | None = None
    trainings: int | None = None

    def hold_out(self, seed: int) -> tuple[Indices, Indices]:
        """Divide `train` for a seed, as `split_held_out` does."""
        return split_held_out(
            self.train, task=self.task, seed=seed, fraction=self.training.held_out
        )

    @property
    def num_scoring(self) -> int:
        """Number of examples that a trial is scored on."""
        return len(self.hold_out(self.training.seed)[1] if self.scoring is None else self.scoring)

    @property
    def num_train(self) -> int:
        """Number of examples that a trial trains on."""
        return len(self.train) - (self.num_scoring if self.scoring is None else 0)

    @property
    def num_read(self) -> float:
        """Number of examples that a worker will train on; infinity if it is not known."""
        if self.trainings is None:
            return math.inf
        return self.trainings * self.training.epochs * self.num_train


def load_training_splits(setup: TrainingSetup, device: torch.device) -> Splits:
    """Load the data of a study as inputs of its model, for training on `device`."""
    length = setup.training.max_length
    read = load_reader(setup.model, setup.task, max_length=length, device=device)
    return Splits(
        train=read(setup.train),
        scoring=None if setup.scoring is None else read(setup.scoring),
        metric=setup.task.metric,
        num_labels=setup.task.num_labels,
        hold_out=setup.hold_out,
    )


def load_frozen_backbone(setup: TrainingSetup, device: torch.device) -> Backbone:
    """Load the backbone of a study onto `device`."""
    return load_backbone(
        setup.model,
        setup.spec.shape.backbone.targets,
        num_labels=setup.task.num_labels,
        precision=setup.precision,
        device=device,
        path=setup.path,
        trains_pooler=setup.trains_pooler,
    )


def serialize_trained(setup: TrainingSetup, job: Job, slot: Slot) -> bytes:
    """Serialize the adapter and the head of a completed trial to the content of a file."""
    description = describe_adapter(
        job.spec,
        job.allocation.ranks,
        setup.model.sha256,
        trains_pooler=slot.head.trains_pooler,
    )
    return serialize_adapter(slot.adapter, slot.head.trained_state_dict(), description)


def save_trained(setup: TrainingSetup, job: Job, slot: Slot) -> None:
    """Save the adapter and the head of a completed trial to the file that its job names."""
    write_whole(job.save_to, serialize_trained(setup, job, slot))
