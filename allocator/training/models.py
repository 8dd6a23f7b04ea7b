"""Finds a pretrained model by its short name, its folder, or its id on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, AutoConfig, PretrainedConfig
from transformers.utils import logging as transformers_logging

from allocator.adapters.weights import sha256_of_folder
from allocator.errors import ModelError, unknown
from allocator.training.hub import out_of_reach
from allocator.training.packaged_models import PACKAGED_MODELS, packaged_folder

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """A pretrained model on this machine.

    Attributes:
        name: As the user named it.
        folder: Where its files are.
        sha256: Of its weights.
    """

    name: str
    folder: Path
    sha256: str


def locate_model(name: str, cache: Path) -> ModelSource:
    """Find a model and check that it can be read.

    Args:
        name: A packaged model's short name, a folder, or an id on the hub.
        cache: Folder of fetched packaged models.

    Raises:
        ModelError: If the model is nowhere; says where it was looked for and what to run.
    """
    if name in PACKAGED_MODELS and (packaged := packaged_folder(name, cache)) is not None:
        return ModelSource(name=name, folder=packaged, sha256=PACKAGED_MODELS[name].sha256)
    if Path(name).is_dir():
        folder = Path(name).resolve()
    elif name in PACKAGED_MODELS:
        folder = _from_hub(
            PACKAGED_MODELS[name].hub_id,
            f"model {name!r} is not in {cache} and {{why}}; run: allocator fetch {name}",
        )
    elif "/" in name:
        advice = f"give a folder, or one of {', '.join(PACKAGED_MODELS)}"
        folder = _from_hub(name, f"model {name!r} is not a folder here and {{why}}; {advice}")
    else:
        known = unknown("model", name, PACKAGED_MODELS)
        raise ModelError(f"{known}, or a folder, or an id on the hub such as FacebookAI/{name}")
    return ModelSource(name=name, folder=folder, sha256=_weights_sha256(folder))


def read_config(source: ModelSource) -> PretrainedConfig:
    """Read a model's configuration.

    Raises:
        ModelError: If it is missing or of a kind that transformers does not know.
    """
    try:
        config = AutoConfig.from_pretrained(source.folder)
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise ModelError(f"model {source.name!r} has no usable config.json: {reason}") from None
    assert isinstance(config, PretrainedConfig)
    return config


def silence_loading() -> None:
    """Keep transformers from drawing bars and tables while it loads models."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def reads_images(source: ModelSource) -> bool:
    """Tell whether a model reads images, not texts.

    Raises:
        ModelError: If it has no usable configuration.
    """
    return type(read_config(source)) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING


def _from_hub(hub_id: str, message: str) -> Path:
    unreachable = out_of_reach(4.0)
    try:
        found = snapshot_download(
            hub_id, allow_patterns=_FILES, local_files_only=unreachable is not None
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as problem:
        reason = unreachable or str(problem).splitlines()[0]
        why = f"{hub_id} cannot be had from the hub or its cache ({reason})"
        raise ModelError(message.format(why=why)) from None
    return Path(found)


def _weights_sha256(folder: Path) -> str:
    sha256 = sha256_of_folder(folder)
    if not sha256:
        raise ModelError(f"{folder} holds no .safetensors weights")
    return sha256
