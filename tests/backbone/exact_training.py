"""Training of two trials as in a worker, and their comparison with the exported models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.backbone.exactness import choose_forward_path
from allocator.config import AdapterConfig, TrainingConfig
from allocator.data.sources import TaskData
from allocator.inputs.batches import Split
from allocator.models.attached import attach_saved
from allocator.models.classifier import load_classifier
from allocator.models.model_source import ModelSource
from allocator.trained.peft_lora import export_peft
from allocator.training.loop import train_trials
from allocator.training.messages import Boundary, Job, Orders, Report
from allocator.training.task_loss import compute_task_loss
from allocator.workers.setup import (
    TrainingSetup,
    load_frozen_backbone,
    load_training_splits,
    save_trained,
)

CPU = torch.device("cpu")
TRAINING = TrainingConfig(epochs=1, batch_size=8, max_length=64)


def make_setup(source: ModelSource, backbone: BackboneShape, data: TaskData) -> TrainingSetup:
    """Prepare the setup of a worker as a search does, for LoRA on two dozen examples."""
    path = choose_forward_path(
        source, backbone.targets, data, max_length=TRAINING.max_length, device=CPU
    )
    shape = AdapterShape(construction="matrix", factorization="matrix", backbone=backbone)
    return TrainingSetup(
        model=source,
        spec=AdapterSpec(shape=shape, config=AdapterConfig()),
        task=data.task,
        train=data.train.select(range(24)),
        scoring=data.dev.select(range(12)),
        training=TRAINING,
        precision="float32",
        threads=1,
        typical=Allocation(ranks={"rank": 2}, learning_rate=1e-2),
        path=path,
    )


def train_two(setup: TrainingSetup, folder: Path) -> list[Report]:
    """Train two trials, together where that is exact, and save their adapters."""
    jobs = [
        Job(
            trial=rank,
            spec=setup.spec,
            allocation=Allocation(ranks={"rank": rank}, learning_rate=1e-2),
            seed=0,
            save_to=folder / f"{rank}.safetensors",
        )
        for rank in (1, 2)
    ]
    waiting, ended = list(jobs), list[Report]()

    def orders(boundary: Boundary) -> Orders | None:
        ended.extend(report for report in boundary.reports if report.ending is not None)
        if len(ended) == len(jobs):
            return None
        starting = tuple(waiting[: boundary.slots])
        del waiting[: boundary.slots]
        return Orders(jobs=starting)

    train_trials(
        load_frozen_backbone(setup, CPU),
        load_training_splits(setup, CPU),
        setup.training,
        slots=2,
        on_boundary=orders,
        on_completed=lambda job, slot: save_trained(setup, job, slot),
    )
    return ended


@torch.no_grad()
def one_by_one(model: nn.Module, split: Split) -> Tensor:
    """Compute the logits of all examples, each alone."""
    answers = [model(**split.make_batch([i], CPU).inputs).logits for i in range(len(split))]
    return torch.cat(answers)


def load(setup: TrainingSetup) -> PreTrainedModel:
    return load_classifier(setup.model, setup.task.num_labels)[0]


def assert_exact(setup: TrainingSetup, report: Report, folder: Path) -> None:
    """Assert that the trained, the attached, the merged and the PEFT model compute the same."""
    assert report.ending == "completed"
    assert report.calibration is not None
    scale, intercept = report.calibration.scale, report.calibration.intercept
    split = load_training_splits(setup, CPU).of_seed(0).scoring
    attached = attach_saved(load(setup), folder / f"{report.trial}.safetensors")

    def answer_as_trained(model: nn.Module) -> Tensor:
        # What is saved is calibrated, and its logits may be too small to be compared.
        return (one_by_one(model, split) - intercept) / scale

    logits = answer_as_trained(attached.model)
    loss = compute_task_loss(logits, split.labels).item()
    assert loss == pytest.approx(report.loss, rel=1e-5, abs=1e-5)
    export_peft(attached, folder / "peft", base_model=str(setup.model.folder))
    lora = PeftModel.from_pretrained(load(setup), str(folder / "peft")).eval()
    attached.merge()
    rounding = 1e-5 * max(1.0, float(logits.abs().max()))
    for model in (attached.model, lora):
        torch.testing.assert_close(answer_as_trained(model), logits, rtol=0, atol=rounding)
