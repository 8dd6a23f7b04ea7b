"""Trains a recipe on all of train, and scores it on the official dev split, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from allocator.adapters.save import describe, save_adapter
from allocator.config import DataSource
from allocator.errors import ModelError, StudyError, TaskError
from allocator.training.backbone import load_backbone, read_backbone_shape
from allocator.training.data_sources import TaskData, load_task
from allocator.training.loop import Outcome, Verdict, train
from allocator.training.models import ModelSource, locate_model
from allocator.training.recipe import Recipe, write_yaml
from allocator.training.worker import WorkerConfig, available_threads, load_splits, visible_devices


def train_recipe(
    recipe: Recipe,
    *,
    output: Path,
    data_source: DataSource,
    data_dir: Path | None,
    fallback_dir: Path | None,
    model_cache: Path,
    say: Callable[[str], None],
) -> Outcome:
    """Train a recipe and write its adapter and scores into a folder.

    Args:
        recipe: What to train.
        output: Folder of `adapter.safetensors` and `result.yaml`.
        data_source: Where the data may come from.
        data_dir: As for `load_task`.
        fallback_dir: As for `load_task`.
        model_cache: Folder of fetched models.
        say: Told one line at every boundary and at the end.

    Raises:
        ModelError: If the model is not the recipe's.
        TaskError: If the data are not the recipe's.
        StudyError: If the training diverged or collapsed.
    """
    model = locate_model(recipe.model.name, model_cache)
    data = load_task(
        recipe.task.name, source=data_source, data_dir=data_dir, fallback_dir=fallback_dir
    )
    _require_same(recipe, model, data)
    device = torch.device(visible_devices()[0])
    worker = _worker(recipe, model, data)
    backbone = load_backbone(
        model,
        recipe.adapter.targets,
        num_labels=data.task.num_labels,
        precision=worker.precision,
        device=device,
    )

    def on_boundary(trial: int, step: int, score: float, loss: float) -> Verdict:
        del trial
        say(f"boundary {step}: dev {recipe.task.metric} {score:.4f}, loss {loss:.4f}")
        return "continue"

    splits = load_splits(worker)
    trained = train(
        0, recipe.allocation(), worker.spec, backbone, splits, worker.training, on_boundary
    )
    if trained.outcome.ending != "completed":
        raise StudyError(
            f"the training {trained.outcome.ending}: nothing was written; "
            "lower learning_rate or core_lr_multiplier in the recipe"
        )
    description = describe(worker.spec, recipe.adapter.ranks, model.sha256)
    head = trained.slot.head.trained_state()
    save_adapter(output / "adapter.safetensors", trained.slot.adapter, head, description)
    outcome = trained.outcome
    scores: dict[str, float | int | str] = {
        "scored_on": "dev",
        "score": outcome.score,
        "loss": outcome.loss,
        **outcome.parts,
    }
    result = recipe.model_copy(update={"scores": scores})
    write_yaml(output / "result.yaml", result, "Trained on all of train, scored on dev once.")
    say(f"{outcome.ending}: dev {recipe.task.metric} {outcome.score:.4f}; wrote {output}")
    return outcome


def _require_same(recipe: Recipe, model: ModelSource, data: TaskData) -> None:
    if model.sha256 != recipe.model.sha256:
        raise ModelError(
            f"model {model.name!r} must have sha256 {recipe.model.sha256}, got {model.sha256}; "
            "the recipe was made with other weights"
        )
    if data.fingerprint != recipe.task.fingerprint:
        raise TaskError(
            f"task {recipe.task.name!r} must have fingerprint {recipe.task.fingerprint}, "
            f"got {data.fingerprint} from {data.source}; the recipe was made on other data"
        )


def _worker(recipe: Recipe, model: ModelSource, data: TaskData) -> WorkerConfig:
    backbone = read_backbone_shape(model, recipe.adapter.targets)
    spec = recipe.adapter.spec(backbone)
    spec.shape.check(recipe.adapter.ranks)
    return WorkerConfig(
        model=model,
        spec=spec,
        task=data.task,
        train=data.train,
        scoring=data.dev,
        training=recipe.training.config(),
        precision=recipe.training.precision,
        threads=available_threads(),
    )
