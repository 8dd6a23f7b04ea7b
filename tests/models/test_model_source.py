import hashlib
import re
import shutil
from pathlib import Path

import huggingface_hub
import pytest

from allocator.errors import ModelError, UnknownNameError
from allocator.models import model_source
from allocator.models.model_config import read_config
from allocator.models.model_source import ModelSource, locate_model

NO_NETWORK = "no network in this test"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache in an empty folder of its own, and the hub itself out of reach."""
    cache = tmp_path / "hub-cache"
    cache.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(model_source, "find_hub_problem", lambda _: NO_NETWORK)
    return cache


def put_into_cache(cache: Path, hub_id: str, folder: Path) -> Path:
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    revision = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    return Path(shutil.copytree(folder, repository / "snapshots" / revision))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_is_a_model(tiny_bert: Path, tmp_path: Path) -> None:
    assert locate_model(str(tiny_bert), tmp_path) == ModelSource(
        name=str(tiny_bert),
        folder=tiny_bert.resolve(),
        sha256=sha256(tiny_bert / "model.safetensors"),
    )


def test_a_relative_folder_is_made_absolute(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_bert.parent)
    source = locate_model(tiny_bert.name, tmp_path)
    assert (source.name, source.folder) == (tiny_bert.name, tiny_bert.resolve())


def test_weights_in_several_files_have_one_hash_of_all(tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "sharded"))
    whole = locate_model(str(folder), tmp_path).sha256
    (folder / "model-2.safetensors").write_bytes(b"more")
    sharded = locate_model(str(folder), tmp_path).sha256
    (folder / "model-2.safetensors").write_bytes(b"other")
    assert len({whole, sharded, locate_model(str(folder), tmp_path).sha256}) == 3


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    message = f"{tmp_path} holds no .safetensors weights"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        locate_model(str(tmp_path), tmp_path)


def test_the_default_model_needs_no_network(hub_cache: Path, tmp_path: Path) -> None:
    source = locate_model("minilm", tmp_path)
    assert source.sha256 == sha256(source.folder / "model.safetensors")
    assert read_config(source).num_hidden_layers == 6
    assert not list(hub_cache.iterdir())


def test_a_model_in_the_hubs_cache_needs_no_network(tiny_bert: Path, hub_cache: Path) -> None:
    cached = put_into_cache(hub_cache, "someone/tiny", tiny_bert)
    source = locate_model("someone/tiny", hub_cache / "none")
    assert source.name == "someone/tiny"
    assert source.folder.samefile(cached)
    assert source.sha256 == sha256(tiny_bert / "model.safetensors")


def test_a_packaged_model_may_come_from_the_hubs_cache(tiny_bert: Path, hub_cache: Path) -> None:
    cached = put_into_cache(hub_cache, "sentence-transformers/all-mpnet-base-v2", tiny_bert)
    assert locate_model("mpnet-base", hub_cache / "none").folder.samefile(cached)


def test_a_packaged_model_that_is_nowhere_is_refused_with_the_command_that_fetches_it(
    hub_cache: Path, tmp_path: Path
) -> None:
    del hub_cache
    message = (
        f"model 'mpnet-base' is not in {tmp_path} and sentence-transformers/all-mpnet-base-v2 "
        f"is not available from the hub or its cache ({NO_NETWORK}); "
        "run: allocator fetch mpnet-base"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        locate_model("mpnet-base", tmp_path)


def test_an_id_that_is_nowhere_is_refused_with_where_it_was_looked_for(
    hub_cache: Path, tmp_path: Path
) -> None:
    del hub_cache
    message = (
        "model 'FacebookAI/roberta-base' is not a folder here and FacebookAI/roberta-base is "
        f"not available from the hub or its cache ({NO_NETWORK}); "
        "give a folder, or one of minilm, mpnet-base, dinov2-small"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        locate_model("FacebookAI/roberta-base", tmp_path)


def test_a_path_that_is_no_folder_and_no_id_is_refused(hub_cache: Path, tmp_path: Path) -> None:
    del hub_cache
    missing = str(tmp_path / "no" / "model")
    with pytest.raises(ModelError, match=f"^model '{re.escape(missing)}' is not a folder here"):
        locate_model(missing, tmp_path)


def test_a_misspelt_short_name_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    message = (
        "unknown model 'mpnet': did you mean 'mpnet-base'? known are dinov2-small, minilm, "
        "mpnet-base, or a folder, or an id on the hub such as FacebookAI/mpnet"
    )
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        locate_model("mpnet", tmp_path)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"model_type": "no-such-model"}'])
def test_a_folder_without_a_usable_configuration_is_refused(
    content: str | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    source = ModelSource(name="mine", folder=tmp_path, sha256="")
    with pytest.raises(ModelError, match=r"^model 'mine' has no usable config\.json: \S.*$"):
        read_config(source)
