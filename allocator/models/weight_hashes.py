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
        The sha256 of the only safetensors file, or of the hashes of several; empty if there is
        none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) < 2:
        return hash_file(files[0]) if files else ""
    # The files' names number the parts, so the order is that of the parts.
    return hashlib.sha256("".join(map(hash_file, files)).encode()).hexdigest()


def hash_model(model: PreTrainedModel) -> str:
    """Hash the files that a model was loaded from.

    Returns:
        As for `hash_folder`; empty also if the files are not found.
    """
    name = model.name_or_path
    if not name:
        return ""  # made in memory
    if Path(name).is_dir():
        return hash_folder(Path(name))
    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return ""  # the folder was removed
    # For a file that is not in the cache, the answer is None or a marker object.
    return hash_folder(Path(config).parent) if isinstance(config, str) else ""
