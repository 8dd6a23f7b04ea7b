"""Train a recipe's allocation on all of train, and score it once on the official dev split."""

from __future__ import annotations

from pathlib import Path

import torch

from allocator.backbone.exactness import choose_forward_path
from allocator.config import Calibration, DataSource
from allocator.data.scoring.metrics import Score, depends_on_calibration
from allocator.data.sources import TaskData, load_task
from allocator.errors import StudyError, TaskError
from allocator.files.recipe import Recipe
from allocator.files.study_folder import ADAPTER_FILE, RESULT_FILE
from allocator.files.yaml_files import write_yaml
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import ModelSource, locate_model_of
from allocator.progress.run_progress import CHECKING, RunProgress
from allocator.progress.time_left import Part
from allocator.training.loop import EVALUATION_COST, train_trials
from allocator.training.messages import Boundary, Job, Orders, Report
from allocator.workers.devices import claim_device, count_available_threads, list_visible_devices
from allocator.workers.score_adapters import AdapterScorer
from allocator.workers.setup import (
    TrainingSetup,
    load_frozen_backbone,
    load_training_splits,
    save_trained,
)

_TRAINING, _SCORING = "training", "scoring"  # the parts of a run


def train_recipe(
    recipe: Recipe,
    *,
    output: Path,
    data_source: DataSource,
    data_dir: Path | None,
    fallback_dir: Path | None,
    model_cache: Path,
    progress: RunProgress,
) -> Report:
    """Train a recipe's allocation, and write its adapter and its scores into a folder.

    The adapter's answers are calibrated as the recipe says. Its score is of these answers, with
    classes decided at the recipe's threshold; its loss is of the answers as trained.

    Args:
        recipe: The recipe to train.
        output: Folder that `adapter.safetensors` and `result.yaml` are written to.
        data_source: As for `load_task`; `auto` tries the folder that the recipe records first.
        data_dir: As for `load_task`.
        fallback_dir: As for `load_task`.
        model_cache: Folder of fetched models.
        progress: Where the training is shown, and the score printed.

    Returns:
        The report of the last boundary.

    Raises:
        ModelError: If the model is not the one that the recipe was made with, or its head cannot
            take the recipe's calibration.
        TaskError: If the data are not those that the recipe was made with.
        StudyError: If the training diverged or collapsed.
    """
    progress.begin("loading model and data")
    model = locate_model_of(recipe.model, model_cache)
    if data_dir is None and data_source == "auto":
        data_dir = _find_recorded_folder(recipe.task.source)
    data = load_task(
        recipe.task.reference,
        source=data_source,
        data_dir=data_dir,
        fallback_dir=fallback_dir,
        limit=recipe.task.limit,
    )
    _require_same_data(recipe, data)
    device = claim_device(list_visible_devices()[0], count_available_threads())
    progress.begin(CHECKING)
    setup = _prepare_setup(recipe, model, data, device)
    if setup.path.reason:
        progress.console.print(setup.path.description, highlight=False, markup=False)
    job = Job(
        trial=0,
        spec=setup.spec,
        allocation=recipe.make_allocation(),
        seed=setup.training.seed,
        save_to=output / ADAPTER_FILE,
        # A calibration fitted to dev would know its labels.
        calibration=recipe.training.calibration or Calibration(),
    )
    metric, threshold = recipe.task.metric, recipe.training.decision_threshold
    scores_again = bool(threshold) or depends_on_calibration(
        metric, is_regression=not recipe.task.labels
    )
    progress.expect(_list_parts(setup, scores_again=scores_again))
    last = _train_one(setup, job, device, progress)
    if last.ending != "completed":
        raise StudyError(
            f"the training {last.ending}: nothing was written; "
            "lower learning_rate or core_lr_multiplier in the recipe"
        )
    score = Score(value=last.score, components=last.components)
    if scores_again:
        progress.begin("scoring on dev", _SCORING)
        (answers,) = AdapterScorer(setup, str(device)).answer([output / ADAPTER_FILE], data.dev)
        if threshold:
            answers = answers.decide(threshold, data.dev.labels, metric)
        score = answers.score
    scores: dict[str, float | int | str] = {
        "scored_on": "dev",
        "score": score.value,
        "loss": last.loss,
        **score.components,
    }
    result = recipe.model_copy(update={"scores": scores})
    write_yaml(output / RESULT_FILE, result, "Trained on all of train, scored on dev once.")
    progress.console.print(
        f"{last.ending}: dev {metric} {score.value:.4f}; wrote {output}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return last


def _find_recorded_folder(source: str) -> Path | None:
    """Find the data folder of a recipe's source, if it was a folder that is still there."""
    kind, _, place = source.partition(":")
    # The folder of a task lies in the data folder.
    return Path(place).parent if kind == "dir" and Path(place).is_dir() else None


def _train_one(
    setup: TrainingSetup, job: Job, device: torch.device, progress: RunProgress
) -> Report:
    """Train one trial by itself and return its last report."""
    progress.begin("loading model and data")
    backbone = load_frozen_backbone(setup, device)
    assert job.calibration is not None
    # On a copy, so that a calibration that the head cannot take is refused before it trains.
    backbone.head.copy_with_fresh_parameters(job.seed).fold_calibration(job.calibration)
    splits = load_training_splits(setup, backbone.device)
    boundaries = setup.training.num_boundaries
    reports: list[Report] = []
    progress.begin("training", _TRAINING)

    def on_progress(fraction: float) -> None:
        progress.advance((len(reports) + fraction) / boundaries)

    def on_boundary(boundary: Boundary) -> Orders | None:
        for report in boundary.reports:
            reports.append(report)
            # Without the score on dev, which is told once, at the end.
            words = f"{report.step}/{boundaries} boundaries, train loss {report.train_loss:.4f}"
            progress.advance(report.step / boundaries, words)
        # The first boundary comes before any training and asks for the job.
        if not reports:
            return Orders(jobs=(job,))
        # None ends the loop, now that the last report has come.
        return Orders() if reports[-1].ending is None else None

    train_trials(
        backbone,
        splits,
        setup.training,
        slots=1,
        on_boundary=on_boundary,
        on_completed=lambda job, slot: save_trained(setup, job, slot),
        on_progress=on_progress,
    )
    return reports[-1]


def _list_parts(setup: TrainingSetup, *, scores_again: bool) -> dict[str, Part]:
    training, answered = setup.training, EVALUATION_COST * setup.num_scoring
    examples = training.epochs * setup.num_train + training.num_boundaries * answered
    scoring = Part(trainings=answered / examples, seconds=2.0) if scores_again else Part()
    return {_TRAINING: Part(trainings=1), _SCORING: scoring}


def _require_same_data(recipe: Recipe, data: TaskData) -> None:
    if data.fingerprint != recipe.task.fingerprint:
        raise TaskError(
            f"task {recipe.task.name!r} must have fingerprint {recipe.task.fingerprint}, "
            f"got {data.fingerprint} from {data.source}; the recipe was made on other data, of "
            f"{recipe.task.source}"
        )
    if data.task.metric != recipe.task.metric:
        raise TaskError(
            f"task {recipe.task.name!r} must have metric {recipe.task.metric}, "
            f"got {data.task.metric} from {data.source}; the recipe was made with the first"
        )


def _prepare_setup(
    recipe: Recipe, model: ModelSource, data: TaskData, device: torch.device
) -> TrainingSetup:
    backbone = read_backbone_shape(model, recipe.adapter.targets)
    spec = recipe.spec(backbone)
    return TrainingSetup(
        model=model,
        spec=spec,
        task=data.task,
        train=data.train,
        scoring=data.dev,
        training=recipe.training.config,
        precision=recipe.training.precision,
        threads=count_available_threads(),
        typical=recipe.make_allocation(),
        trains_pooler=recipe.training.trains_pooler,
        path=choose_forward_path(
            model,
            backbone.targets,
            data,
            max_length=recipe.training.max_length,
            device=device,
        ),
    )
