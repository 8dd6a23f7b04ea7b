"""Writes a trained adapter as a folder that needs nothing of this package to be used."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from allocator.errors import StudyError
from allocator.models.model_config import read_config
from allocator.models.packaged_models import PACKAGED_MODELS
from allocator.trained.model_card import write_model_card
from allocator.trained.peft_lora import export_peft
from allocator.trained.trained_adapter import TrainedAdapter

ExportFormat = Literal["peft", "merged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenExport:
    """What was written, and how large it is.

    Attributes:
        adapter_parameters: Of the adapter that was exported.
        exported_parameters: Of the LoRA that stands for it, or 0 where it was merged.
    """

    adapter_parameters: int
    exported_parameters: int


def write_export(trained: TrainedAdapter, how: ExportFormat, output: Path) -> WrittenExport:
    """Write a folder with a model card: a LoRA of PEFT, or a plain model.

    Args:
        trained: The adapter on its model; merging leaves it on the model for good.
        how: `peft` writes a LoRA of the smallest ranks that are exact; `merged` the whole model.
        output: A folder that does not exist, or is empty. It appears whole or not at all.

    Raises:
        StudyError: If the folder has content, or cannot be written.
    """
    adapter_parameters = trained.attached.num_parameters
    base = base_model_name(trained)
    with _new_folder(output) as folder:
        exported = 0
        if how == "peft":
            exported = export_peft(trained.attached, folder, base_model=base)
        else:
            trained.attached.merge()
            trained.attached.model.save_pretrained(folder)
        trained.preprocessor.save_pretrained(folder)
        card = write_model_card(
            trained.recipe, base, is_lora=how == "peft", options=_loading_options(trained)
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
    return WrittenExport(adapter_parameters=adapter_parameters, exported_parameters=exported)


def base_model_name(trained: TrainedAdapter) -> str:
    """Name the pretrained model as others find it: its id on the hub, or its folder."""
    name = trained.source.name
    return PACKAGED_MODELS[name].hub_id if name in PACKAGED_MODELS else name


def _loading_options(trained: TrainedAdapter) -> dict[str, object]:
    """What of the model's configuration its checkpoint does not say, or says otherwise."""
    used, own = trained.attached.model.config, read_config(trained.source)
    options: dict[str, object] = {"id2label": used.id2label, "label2id": used.label2id}
    if own.num_labels != used.num_labels:
        options["ignore_mismatched_sizes"] = True  # of a classifier for other classes
    padding = getattr(used, "pad_token_id", None)
    if padding != getattr(own, "pad_token_id", None):
        options["pad_token_id"] = padding
    return options


@contextlib.contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Make a folder beside its place, and move it there when all is written."""
    unfinished = output.with_name(f"{output.name}.unfinished")
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise StudyError(f"{output} is not an empty folder; give another --output")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        os.replace(unfinished, output)
    except OSError as problem:
        raise StudyError(f"{output} cannot be written: {problem.strerror or problem}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
