"""A model in memory, written where workers and later runs find it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from allocator.errors import ModelError
from allocator.files.whole_files import move_folder
from allocator.models.head_parameters import ADAPTER
from allocator.models.weight_hashes import hash_folder


def save_given_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, folder: Path
) -> Path:
    """Write a model into a folder that is named by its class and its weights.

    Args:
        model: The model, which stays as it is.
        tokenizer: Its tokenizer; None for the one under its `name_or_path`.
        folder: Folder for all models.

    Returns:
        The model's own folder; one that exists is not written again.

    Raises:
        ModelError: If the model has an adapter, or no tokenizer is known.
    """
    if hasattr(model, ADAPTER):
        raise ModelError("the model has an adapter of its own; detach() or merge() it first")
    if tokenizer is None:
        tokenizer = _load_tokenizer(model.name_or_path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as made:
        whole = Path(made) / "whole"
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        own = folder / f"{type(model).__name__}-{hash_folder(whole)[:8]}"
        move_folder(whole, own)
    return own


def _load_tokenizer(name: str | None) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name or "")
    except (OSError, ValueError):
        raise ModelError(f"no tokenizer is known under {name!r}; give tokenizer=") from None
    return tokenizer
