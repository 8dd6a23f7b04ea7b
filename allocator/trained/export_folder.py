"""Export of a trained adapter as a folder that can be used without this package."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from allocator.errors import StudyError
from allocator.files.recipe import Recipe
from allocator.inputs.text_lengths import limit_length
from allocator.models.model_config import read_config
from allocator.models.packaged_models import PACKAGED_MODELS
from allocator.trained.model_card import write_model_card
from allocator.trained.peft_lora import export_peft
from allocator.trained.trained_adapter import TrainedAdapter

ExportFormat = Literal["peft", "merged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenExport:
    """Sizes of an export.

    Attributes:
        adapter_parameters: Number of parameters of the trained adapter.
        exported_parameters: Number of parameters of the LoRA that was written; 0 for a merged
            model.
    """

    adapter_parameters: int
    exported_parameters: int


def write_export(
    trained: TrainedAdapter, how: ExportFormat, output: Path, repository: str | None = None
) -> WrittenExport:
    """Write a trained adapter into a folder, as a LoRA for PEFT or as a plain model.

    The folder also gets the tokenizer or image processor, and a model card.

    Args:
        trained: The adapter on its model; `merged` changes the weights of that model permanently.
        how: `peft` writes a LoRA of the smallest ranks that are exact, `merged` the whole model.
        output: A folder that does not exist or is empty. It appears whole or not at all.
        repository: Id of the repository on the hub that the folder is sent to, if it is.

    Raises:
        StudyError: If the folder has content or cannot be written.
    """
    adapter_parameters = trained.attached.num_parameters
    base = base_model_name(trained.source.name)
    with _create_folder(output) as folder:
        exported = 0
        if how == "peft":
            exported = export_peft(trained.attached, folder, base_model=base)
        else:
            trained.attached.merge()
            trained.attached.model.save_pretrained(folder)
        if isinstance(trained.preprocessor, PreTrainedTokenizerBase):
            # Whoever truncates gets what the adapter was trained with.
            asked = trained.recipe.training.max_length
            trained.preprocessor.model_max_length = limit_length(trained.source, asked)
        trained.preprocessor.save_pretrained(folder)
        card = write_model_card(
            trained.recipe,
            base,
            holds=how,
            options=_list_loading_options(trained),
            repository=repository,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
    return WrittenExport(adapter_parameters=adapter_parameters, exported_parameters=exported)


def write_adapter_card(recipe: Recipe, repository: str) -> str:
    """Write the card of a repository that holds an adapter as a study has it, and its recipe."""
    base = base_model_name(recipe.model.name)
    return write_model_card(recipe, base, holds="adapter", options={}, repository=repository)


def base_model_name(name: str) -> str:
    """Return the id of a pretrained model on the hub, or its folder if it has no id."""
    return PACKAGED_MODELS[name].hub_id if name in PACKAGED_MODELS else name


def _list_loading_options(trained: TrainedAdapter) -> dict[str, object]:
    """List the options of `from_pretrained` by which the trained model differs from its base."""
    trained_config, own = trained.attached.model.config, read_config(trained.source)
    options: dict[str, object] = {
        "id2label": trained_config.id2label,
        "label2id": trained_config.label2id,
    }
    if trained_config.problem_type == "multi_label_classification":
        options["problem_type"] = trained_config.problem_type
    if own.num_labels != trained_config.num_labels:
        # The checkpoint's classifier is for other classes; the export replaces it.
        options["ignore_mismatched_sizes"] = True
    # Training used the tokenizer's padding token, whatever the checkpoint says.
    padding = getattr(trained_config, "pad_token_id", None)
    if padding != getattr(own, "pad_token_id", None):
        options["pad_token_id"] = padding
    return options


@contextlib.contextmanager
def _create_folder(output: Path) -> Iterator[Path]:
    """Create a folder under a temporary name and rename it to `output` when it is complete."""
    unfinished = output.with_name(f"{output.name}.unfinished")
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise StudyError(f"{output} is not an empty folder; give another --output")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        # A rename may replace an empty folder, so `output` need not be removed first.
        os.replace(unfinished, output)
    except OSError as problem:
        raise StudyError(f"{output} cannot be written: {problem.strerror or problem}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
