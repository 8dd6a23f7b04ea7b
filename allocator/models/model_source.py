"""Find a pretrained model by its short name, its folder, or its id on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from allocator.errors import ModelError
from allocator.files.recipe import ModelSection
from allocator.hub import find_hub_problem
from allocator.models.packaged_models import (
    PACKAGED_MODELS,
    find_packaged_folder,
    require_model_name,
)
from allocator.models.weight_hashes import hash_folder

# Weights are read from safetensors alone; pickled weights and code are not downloaded.
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """A pretrained model on this machine.

    Attributes:
        name: The name that the user gave.
        folder: Folder of its files.
        sha256: Hash of its weights.
    """

    name: str
    folder: Path
    sha256: str


def locate_model(name: str, cache: Path) -> ModelSource:
    """Find a model's folder, downloading it from the hub if necessary.

    Args:
        name: A packaged model's short name, a folder, or an id on the hub.
        cache: Folder of fetched packaged models.

    Raises:
        ModelError: If the model is not found, or has no safetensors weights; the message says where
            it was looked for and what to run.
        UnknownNameError: If the name is neither a short name, a folder, nor an id on the hub.
    """
    require_model_name(name)
    if name in PACKAGED_MODELS and (packaged := find_packaged_folder(name, cache)) is not None:
        return ModelSource(name=name, folder=packaged, sha256=PACKAGED_MODELS[name].sha256)
    if Path(name).is_dir():
        folder = Path(name).resolve()
    elif name in PACKAGED_MODELS:
        folder = _download_from_hub(
            PACKAGED_MODELS[name].hub_id,
            f"model {name!r} is not in {cache} and {{why}}; run: allocator fetch {name}",
        )
    else:
        advice = f"give a folder, or one of {', '.join(PACKAGED_MODELS)}"
        folder = _download_from_hub(
            name, f"model {name!r} is not a folder here and {{why}}; {advice}"
        )
    return ModelSource(name=name, folder=folder, sha256=_hash_weights(folder))


def _download_from_hub(hub_id: str, message: str) -> Path:
    # If the hub does not answer, only the cache is read: a download would wait for minutes.
    unreachable = find_hub_problem(4.0)
    try:
        folder = snapshot_download(
            hub_id, allow_patterns=_FILES, local_files_only=unreachable is not None
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as problem:
        reason = unreachable or str(problem).splitlines()[0]
        why = f"{hub_id} is not available from the hub or its cache ({reason})"
        raise ModelError(message.format(why=why)) from None
    return Path(folder)


def _hash_weights(folder: Path) -> str:
    sha256 = hash_folder(folder)
    if not sha256:
        raise ModelError(f"{folder} holds no .safetensors weights")
    return sha256


def locate_model_of(section: ModelSection, cache: Path) -> ModelSource:
    """Find the model that a recipe was made with.

    Raises:
        ModelError: If it is not found, or has other weights now.
    """
    source = locate_model(section.name, cache)
    if source.sha256 != section.sha256:
        raise ModelError(
            f"model {source.name!r} must have sha256 {section.sha256}, got {source.sha256}; "
            "the recipe was made with other weights"
        )
    return source
