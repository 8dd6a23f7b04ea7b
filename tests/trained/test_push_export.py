"""Exports that are sent to a hub, and what keeps them from it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from allocator.errors import HubError
from allocator.files.study_folder import ADAPTER_FILE, RECIPE_FILE, name_for_budget
from allocator.trained.export_folder import write_export
from allocator.trained.hub_repository import find_repository
from allocator.trained.push_export import push_adapter, push_folder
from allocator.trained.trained_adapter import load_trained
from tests.trained.fake_hub import FakeHub

pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload:DeprecationWarning",  # huggingface-hub's
    # PEFT asks a model for what transformers has renamed.
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning",
)


def test_adapter_card_and_recipe_arrive_as_the_study_has_them(
    fake_hub: FakeHub, tiny_study: Path
) -> None:
    address = push_adapter(tiny_study, find_repository("small"), budget=None, is_private=False)
    assert address == f"{fake_hub.url}/alice/small"
    files = fake_hub.files["alice/small"]
    assert files.keys() == {"README.md", RECIPE_FILE, ADAPTER_FILE}
    for name in (RECIPE_FILE, ADAPTER_FILE):
        assert files[name] == (tiny_study / name).read_bytes()
    card = files["README.md"].decode()
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "allocator"
    assert "base_model" not in header  # a folder, which the hub would refuse
    assert 'snapshot_download("alice/small")' in card
    assert fake_hub.visibility["alice/small"] == "public"


def test_the_snippet_of_the_card_loads_the_adapter(
    fake_hub: FakeHub, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_adapter(tiny_study, find_repository("small"), budget=None, is_private=False)
    snippet = fake_hub.files["alice/small"]["README.md"].decode().split("```python\n")[1]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _id: str(tiny_study))
    loaded: dict[str, object] = {}
    exec(snippet.split("```")[0], loaded)
    expected = load_trained(tiny_study, tiny_study).attached.model.state_dict()
    model = loaded["model"]
    assert hasattr(model, "state_dict")
    for name, value in model.state_dict().items():
        assert value.equal(expected[name])


@pytest.mark.parametrize("how", ["peft", "merged"])
def test_an_exported_folder_arrives_whole_with_the_recipe(
    how: str, fake_hub: FakeHub, tiny_study: Path, tmp_path: Path
) -> None:
    repository = find_repository("alice/small")
    trained = load_trained(tiny_study, tiny_study)
    write_export(trained, "peft" if how == "peft" else "merged", tmp_path / "out", repository.id)
    push_folder(tmp_path / "out", tiny_study, repository, budget=None, is_private=True)
    sent = dict(fake_hub.files["alice/small"])
    assert sent.pop(RECIPE_FILE) == (tiny_study / RECIPE_FILE).read_bytes()
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sent == made
    assert ("adapter_model.safetensors" if how == "peft" else "model.safetensors") in sent
    assert b'"alice/small"' in sent["README.md"]
    assert fake_hub.visibility["alice/small"] == "private"


def test_a_second_push_replaces_the_files_and_keeps_others(
    fake_hub: FakeHub, tiny_study: Path
) -> None:
    fake_hub.files["alice/small"] = {"mine.txt": b"mine", RECIPE_FILE: b"old"}
    push_adapter(tiny_study, find_repository("small"), budget=None, is_private=False)
    files = fake_hub.files["alice/small"]
    assert files["mine.txt"] == b"mine"
    assert files[RECIPE_FILE] == (tiny_study / RECIPE_FILE).read_bytes()


def test_the_choice_of_a_smaller_budget_is_sent_under_the_plain_names(
    fake_hub: FakeHub, tiny_study: Path
) -> None:
    for name in (RECIPE_FILE, ADAPTER_FILE):
        content = (tiny_study / name).read_bytes()
        smaller = content.replace(b"budget: 1000", b"budget: 500")
        (tiny_study / name_for_budget(name, 500)).write_bytes(smaller)
    push_adapter(tiny_study, find_repository("small"), budget=500, is_private=False)
    files = fake_hub.files["alice/small"]
    assert files[RECIPE_FILE] == (tiny_study / "best-500.yaml").read_bytes()
    assert b"budget: 500" in files[RECIPE_FILE]
    assert b"of a budget of 500" in files["README.md"]


def test_a_token_that_is_missing_or_refused_is_one_line(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(HubError, match=r"^--push small: the hub refuses the token; run `hf auth"):
        find_repository("small")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(HubError, match=r"^--push small: nobody is logged in; run `hf auth login`"):
        find_repository("small")
    assert fake_hub.files == {}


def test_a_repository_of_others_is_one_line(fake_hub: FakeHub, tiny_study: Path) -> None:
    with pytest.raises(
        HubError, match=r"^--push bob/small: no permission to write there"
    ) as mistake:
        push_adapter(tiny_study, find_repository("bob/small"), budget=None, is_private=False)
    assert 'You don\'t have the rights to create a model under "bob"' in str(mistake.value)
    assert "\n" not in str(mistake.value)
    assert fake_hub.files == {}


@pytest.mark.parametrize("part", ["/preupload/", "/lfs/", "/commit/"])
def test_a_hub_that_breaks_off_is_one_line(part: str, fake_hub: FakeHub, tiny_study: Path) -> None:
    repository = find_repository("small")
    fake_hub.refused.append(part)
    with pytest.raises(
        HubError, match=r"^--push alice/small: the hub failed .*; run the same comm"
    ):
        push_adapter(tiny_study, repository, budget=None, is_private=False)
    assert fake_hub.files == {"alice/small": {}}


@pytest.mark.usefixtures("fake_hub")
def test_a_hub_out_of_reach_is_found_out_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connections are accepted, and nothing is ever answered
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr("allocator.trained.hub_repository._PATIENCE", 0.5)
        begin = time.monotonic()
        with pytest.raises(HubError, match=f"^--push small: .*{url}.*; run the same command again"):
            find_repository("small")
        assert time.monotonic() - begin < 3
