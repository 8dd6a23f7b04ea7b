"""Hashes of pretrained weights, which identify the model that an adapter belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedModel

from allocator.files.whole_files import hash_file


def hash_folder(folder: Path) -> str:
    """Hash the weights in a model's folder.

    Returns:
        The sha256 of the one safetensors file, or that of the hashes of several; empty where there
        is none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) < 2:
        return hash_file(files[0]) if files else ""
    return hashlib.sha256("".join(map(hash_file, files)).encode()).hexdigest()


def hash_model(model: PreTrainedModel) -> str:
    """Hash the files that a model was loaded from.

    Returns:
        As for `hash_folder`; empty also where the files are not found.
    """
    name = model.name_or_path
    if not name:
        return ""  # made in memory
    if Path(name).is_dir():
        return hash_folder(Path(name))
    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return ""  # a folder that is gone
    return hash_folder(Path(config).parent) if isinstance(config, str) else ""
