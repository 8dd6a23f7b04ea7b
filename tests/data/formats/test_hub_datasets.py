import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from allocator import hub
from allocator.data.formats import hub_datasets
from allocator.data.glue import GLUE
from allocator.data.sources import load_task
from allocator.data.tasks import HubLayout
from allocator.errors import DataError, TaskError, UnknownNameError

CARD = """---
configs:
- config_name: cola
  data_files:
  - {split: train, path: cola/train.parquet}
  - {split: validation, path: cola/validation.parquet}
- config_name: mnli
  data_files:
  - {split: train, path: mnli/train.parquet}
  - {split: validation_matched, path: mnli/validation_matched.parquet}
- config_name: stsb
  data_files:
  - {split: train, path: stsb/train.parquet}
  - {split: validation, path: stsb/validation.parquet}
---
"""
CLASS = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
ACCEPTABLE = datasets.ClassLabel(names=["unacceptable", "acceptable"])
STRING = datasets.Value("string")
FEATURES = {
    "cola": {"sentence": STRING, "label": ACCEPTABLE, "idx": datasets.Value("int32")},
    "mnli": {"premise": STRING, "hypothesis": STRING, "label": CLASS},
    "stsb": {"sentence1": STRING, "sentence2": STRING, "label": datasets.Value("float32")},
}
ROWS: dict[str, dict[str, list[object]]] = {
    "cola": {"sentence": ["Them sing.", "They sing."], "label": [0, 1], "idx": [0, 1]},
    "mnli": {"premise": ["Rain."], "hypothesis": ["Sun."], "label": [2]},
    "stsb": {"sentence1": ["A plane."], "sentence2": ["A jet."], "label": [3.8]},
}
SPLITS = {
    "cola": ("train", "validation"),
    "mnli": ("train", "validation_matched"),
    "stsb": ("train", "validation"),
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset repository in the layout of nyu-mll/glue, and an empty cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "glue"
    for name, splits in SPLITS.items():
        write(folder, name, splits, ROWS[name])
    (folder / "README.md").write_text(CARD)
    return folder


def write(folder: Path, name: str, splits: tuple[str, ...], rows: dict[str, list[object]]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    features = datasets.Features(FEATURES[name])
    for split in splits:
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(folder / name / f"{split}.parquet")


@pytest.fixture
def status() -> Iterator[list[int]]:
    """A server that answers every request with the status in the list, as the hub's endpoint."""
    answers = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(answers[0])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server, pytest.MonkeyPatch.context() as patch:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        patch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "texts", "labels"),
    [
        ("cola", (("Them sing.",), ("They sing.",)), (0, 1)),
        ("mnli", (("Rain.", "Sun."),), (2,)),
        ("stsb", (("A plane.", "A jet."),), (3.8,)),
    ],
)
def test_a_repository_in_the_hubs_layout_is_read_by_datasets(
    repository: Path, name: str, texts: tuple[tuple[str, ...], ...], labels: tuple[float, ...]
) -> None:
    data = load_task(name, source="hub", repository=str(repository))
    assert data.train.inputs == data.dev.inputs == texts
    assert data.train.labels == data.dev.labels == labels
    assert data.source == f"hub:{repository}/{name}"


def test_the_same_data_have_the_same_fingerprint_from_the_hub_and_from_files(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "files" / "STS-B"
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text("sentence1\tsentence2\tscore\nA plane.\tA jet.\t3.800\n")
    from_hub = load_task("stsb", source="hub", repository=str(repository))
    from_files = load_task("stsb", data_dir=tmp_path / "files")
    assert from_hub.fingerprint == from_files.fingerprint


def test_offline_the_cache_answers(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cola = GLUE["cola"]
    online = hub_datasets.load_hub_splits(cola.hub, task=cola.task, repository=str(repository))
    # `datasets` names a hub repository's cache folder after its owner too.
    shutil.move(tmp_path / "cache" / "glue", tmp_path / "cache" / "nyu-mll___glue")
    shutil.rmtree(repository)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert hub_datasets.load_hub_splits(cola.hub, task=cola.task) == online
    with pytest.raises(TaskError, match=r"nyu-mll/glue \(mnli\) on the Hugging Face hub: offline"):
        hub_datasets.load_hub_splits(GLUE["mnli"].hub, task=GLUE["mnli"].task)
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_column_that_the_task_needs_must_be_there(repository: Path) -> None:
    stsb = GLUE["stsb"]
    expected = "no column 'sentence1'; columns are 'sentence', 'label', 'idx'"
    with pytest.raises(DataError, match=expected):
        hub_datasets.load_hub_splits(
            HubLayout(config="cola", text_columns=stsb.hub.text_columns),
            task=stsb.task,
            repository=str(repository),
        )


def test_a_hidden_label_is_an_error_with_its_row(repository: Path) -> None:
    rows: dict[str, list[object]] = {"sentence": ["a", "b"], "label": [1, -1], "idx": [0, 1]}
    write(repository, "cola", ("train",), rows)
    with pytest.raises(DataError, match="split train, row 1: a class must be 0 to 1, got -1"):
        load_task("cola", source="hub", repository=str(repository))


def test_a_missing_split_is_an_error_of_one_line(repository: Path) -> None:
    layout = HubLayout(config="cola", text_columns=("sentence",), dev="test")
    expected = r"^unknown split 'test': known are train, validation in \S+ \(cola\)$"
    with pytest.raises(UnknownNameError, match=expected) as caught:
        hub_datasets.load_hub_splits(layout, task=GLUE["cola"].task, repository=str(repository))
    assert "\n" not in str(caught.value)


def test_a_hub_that_answers_is_in_reach(status: list[int]) -> None:
    assert hub.find_hub_problem(5.0) is None
    status[0] = 405
    assert hub.find_hub_problem(5.0) is None


def test_a_hub_that_fails_is_out_of_reach(status: list[int]) -> None:
    status[0] = 503
    assert (hub.find_hub_problem(5.0) or "").endswith("answers 503")


def test_a_refused_connection_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    assert (hub.find_hub_problem(5.0) or "").startswith(f"{endpoint} is out of reach")


def test_a_name_server_that_hangs_costs_no_more_than_the_patience(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(repository)
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(30)
        raise socket.gaierror("gave up")

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(TaskError, match=r"no answer from http://hub.invalid in 0.2 s, and its"):
        hub_datasets.load_hub_splits(GLUE["cola"].hub, task=GLUE["cola"].task, patience=0.2)
    assert time.monotonic() - start < 2
    released.set()
