"""Hashes of pretrained weights, which say what model an adapter belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedModel

from allocator.files.whole_files import sha256_of


def sha256_of_folder(folder: Path) -> str:
    """Hash the weights of a model's folder; empty where it holds no safetensors."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) < 2:
        return sha256_of(files[0]) if files else ""
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


def sha256_of_model(model: PreTrainedModel) -> str:
    """Hash the files that a model was loaded from; empty where they cannot be found."""
    name = model.name_or_path
    if not name:
        return ""  # made in memory
    if Path(name).is_dir():
        return sha256_of_folder(Path(name))
    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return ""  # a folder that is gone
    return sha256_of_folder(Path(config).parent) if isinstance(config, str) else ""
