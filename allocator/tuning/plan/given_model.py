"""A model in memory, written where workers and later runs find it."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import torch
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from allocator.errors import ModelError
from allocator.files.whole_files import hash_file, move_folder
from allocator.models.head_parameters import ADAPTER

Preprocessor = PreTrainedTokenizerBase | BaseImageProcessor


def save_given_model(
    model: PreTrainedModel, preprocessor: Preprocessor | None, folder: Path
) -> Path:
    """Write a model into a folder that is named by its class and its content.

    Args:
        model: The model, which stays as it is.
        preprocessor: Its tokenizer or image processor; None for the one under its `name_or_path`.
        folder: Folder for all models.

    Returns:
        The model's own folder. One that exists is not written again.

    Raises:
        ModelError: If the model has an adapter, or no preprocessor is known.
    """
    if hasattr(model, ADAPTER):
        raise ModelError("the model has an adapter of its own; detach() or merge() it first")
    if preprocessor is None:
        preprocessor = _load_preprocessor(model)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as made:
        whole = Path(made) / "whole"
        preprocessor.save_pretrained(whole)
        # Before the weights are written, which takes gigabytes and may have been done.
        own = folder / f"{type(model).__name__}-{_hash_content(model, whole)}"
        if not own.is_dir():
            model.save_pretrained(whole)
            move_folder(whole, own)
    return own


def _load_preprocessor(model: PreTrainedModel) -> Preprocessor:
    name = model.name_or_path
    kind = AutoImageProcessor if model.main_input_name == "pixel_values" else AutoTokenizer
    try:
        preprocessor: Preprocessor = kind.from_pretrained(name or "")
    except (OSError, ValueError):
        raise ModelError(
            f"no tokenizer or image processor is known under {name!r}; give preprocessor="
        ) from None
    return preprocessor


def _hash_content(model: PreTrainedModel, preprocessor: Path) -> str:
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        # As bytes, because NumPy has no bfloat16.
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    for path in sorted(preprocessor.iterdir()):
        digest.update(f"{path.name} {hash_file(path)}".encode())
    return digest.hexdigest()[:8]
