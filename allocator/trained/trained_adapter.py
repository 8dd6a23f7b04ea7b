"""The trained adapter of a study on its pretrained model, for predictions and exports."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

from allocator.config import default_model_cache
from allocator.errors import CheckpointError
from allocator.files.recipe import Recipe, read_recipe
from allocator.files.result_files import find_result_files, find_result_folder
from allocator.files.study_folder import RESULT_FILE, require_study
from allocator.models.attached import Attached, attach_saved
from allocator.models.classifier import load_classifier
from allocator.models.model_config import reads_images, silence_loading
from allocator.models.model_source import ModelSource, locate_model_of
from allocator.models.preprocessors import load_image_processor, load_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedAdapter:
    """The best adapter of a study, in memory.

    Attributes:
        recipe: The recipe that it was trained by, with its scores.
        source: The pretrained model.
        attached: The trained adapter and head, on the model.
        preprocessor: The model's tokenizer or image processor.
    """

    recipe: Recipe
    source: ModelSource
    attached: Attached
    preprocessor: PreTrainedTokenizerBase | BaseImageProcessor


def load_model(result: Recipe | Path | str, cache: Path | None = None) -> PreTrainedModel:
    """Load the pretrained model of a recipe, with the initial head of its training.

    Dropout is off, as it is in a search: a frozen model does not overfit. The model is in float32
    on the CPU.

    Args:
        result: A recipe, as `read_recipe` returns it, or its file; or a folder that a search or
            `train` wrote, or the name of a study in `studies/`.
        cache: Folder of fetched models; None for the folder that `allocator fetch` uses by default.

    Raises:
        UnknownNameError: If there is no such study.
        CheckpointError: If there is no recipe, or it breaks the schema.
        ModelError: If the model is not found, or its weights have changed.
    """
    recipe = result if isinstance(result, Recipe) else _read_recipe_of(result)
    source = locate_model_of(recipe.model, cache or default_model_cache())
    model, _ = _load_classifier(source, recipe, has_dropout=False)
    return model


def _read_recipe_of(result: Path | str) -> Recipe:
    # By its suffix a file that is missing is told from a study.
    if Path(result).is_file() or Path(result).suffix == Path(RESULT_FILE).suffix:
        return read_recipe(result)
    return read_recipe(find_result_files(find_result_folder(result)).recipe)


def load_trained(folder: Path, cache: Path, budget: int | None = None) -> TrainedAdapter:
    """Load the best adapter of a study, or one that `train` trained, onto its model.

    Args:
        folder: Folder of the study, or the one that `train` wrote.
        cache: Folder of fetched models.
        budget: The budget within which it is the best, one of the study's; None for the largest.

    Raises:
        UnknownNameError: If there is no such study, or it was not searched within the budget.
        CheckpointError: If the recipe or the adapter is missing or damaged, or if they do not
            belong together.
        ModelError: If the model is not found, or its weights have changed.
    """
    require_study(folder)
    silence_loading()
    files = find_result_files(folder, budget)
    recipe = read_recipe(files.recipe)
    source = locate_model_of(recipe.model, cache)
    model, fresh = _load_classifier(source, recipe)
    preprocessor = (load_image_processor if reads_images(source) else load_tokenizer)(source)
    attached = attach_saved(model, files.adapter, fresh=fresh)
    # A file of another adapter would load as well if it fits the same backbone.
    expected = recipe.spec(attached.spec.shape.backbone), recipe.adapter.ranks
    if (attached.spec, attached.adapter.ranks) != expected:
        raise CheckpointError(
            f"{files.adapter} is not the adapter of {files.recipe.name} beside it; "
            f"run: {_write_remedy(files.recipe)}"
        )
    return TrainedAdapter(
        recipe=recipe, source=source, attached=attached, preprocessor=preprocessor
    )


def _load_classifier(
    source: ModelSource, recipe: Recipe, *, has_dropout: bool = True
) -> tuple[PreTrainedModel, frozenset[str]]:
    """Load a model; also returns the names of the parameters that its checkpoint lacked."""
    labels = recipe.task.labels
    # The head is drawn from torch's global generator, whose state is restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        return load_classifier(
            source,
            len(labels) or 1,
            labels=labels,
            is_multi_label=recipe.task.is_multi_label,
            has_dropout=has_dropout,
        )


def _write_remedy(recipe: Path) -> str:
    """Write the command that makes the adapter of a recipe again."""
    folder = recipe.parent
    words = ["export", "--study", folder.name, "--studies-dir", str(folder.parent)]
    if recipe.name == RESULT_FILE:
        words = ["train", "--config", str(recipe), "--output", str(folder)]
    return f"python -m allocator.{shlex.join(words)}"
