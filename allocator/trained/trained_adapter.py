"""The trained adapter of a study on its pretrained model, for predictions and exports."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

from allocator.config import default_model_cache
from allocator.errors import CheckpointError, UnknownNameError
from allocator.files.recipe import Recipe, read_recipe
from allocator.files.study_folder import (
    ADAPTER_FILE,
    RECIPE_FILE,
    list_smaller_budgets,
    name_for_budget,
    require_study,
)
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


def load_model(recipe: Recipe, cache: Path | None = None) -> PreTrainedModel:
    """Load the pretrained model of a recipe, with the initial head of its training.

    Dropout is off, as it is in a search: a frozen model does not overfit. The model is in float32
    on the CPU.

    Args:
        recipe: A recipe, as `read_recipe` returns it.
        cache: Folder of fetched models; None for the folder that `allocator fetch` uses by default.

    Raises:
        ModelError: If the model is not found, or its weights have changed.
    """
    source = locate_model_of(recipe.model, cache or default_model_cache())
    model, _ = _load_classifier(source, recipe, has_dropout=False)
    return model


def load_trained(folder: Path, cache: Path, budget: int | None = None) -> TrainedAdapter:
    """Load the best adapter of a study onto its model.

    Args:
        folder: Folder of the study.
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
    path, adapter = find_choice(folder, budget)
    recipe = read_recipe(path)
    source = locate_model_of(recipe.model, cache)
    model, fresh = _load_classifier(source, recipe)
    preprocessor = (load_image_processor if reads_images(source) else load_tokenizer)(source)
    attached = attach_saved(model, adapter, fresh=fresh)
    # A file of another adapter would load as well if it fits the same backbone.
    expected = recipe.spec(attached.spec.shape.backbone), recipe.adapter.ranks
    if (attached.spec, attached.adapter.ranks) != expected:
        raise CheckpointError(
            f"{adapter} is not the adapter of {path.name} beside it; "
            f"run: python -m allocator.export --study {shlex.quote(folder.name)} "
            f"--studies-dir {shlex.quote(str(folder.parent))}"
        )
    return TrainedAdapter(
        recipe=recipe, source=source, attached=attached, preprocessor=preprocessor
    )


def find_choice(folder: Path, budget: int | None) -> tuple[Path, Path]:
    """Find the recipe and the adapter of the best within a budget; None for the largest.

    Raises:
        UnknownNameError: If the study was not searched within the budget.
    """
    names = (RECIPE_FILE, ADAPTER_FILE)
    if budget is None or budget == (largest := read_recipe(folder / RECIPE_FILE).budget):
        return folder / names[0], folder / names[1]
    known = list_smaller_budgets(folder)
    if budget not in known:
        searched = [str(number) for number in (*known, largest)]
        raise UnknownNameError("budget", str(budget), searched, f" of study {folder.name}")
    path, adapter = (folder / name_for_budget(name, budget) for name in names)
    return path, adapter


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
