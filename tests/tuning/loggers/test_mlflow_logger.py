"""Runs in a folder of MLflow's, as its own client reads them."""

from __future__ import annotations

import time
from http.server import HTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from allocator.errors import LoggerError
from allocator.tuning.loggers import mlflow_logger
from allocator.tuning.loggers.mlflow_logger import MlflowLogger
from tests.tuning.loggers.two_processes import (
    CURVES,
    ENDED,
    TABLE,
    TRIED_AGAIN,
    log_in_two_processes,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*filesystem tracking backend:FutureWarning",
)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client of an empty folder, which the environment names; a database takes 10 s to make."""
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return MlflowClient(uri)


def read_runs(client: MlflowClient, experiment: str) -> dict[str, Run]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run for run in runs}


def test_two_processes_log_each_curve_once_and_the_table(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in_two_processes(lambda: MlflowLogger("small", "1a2b"))
    runs = read_runs(client, "allocator")
    assert runs.keys() == {"small", *CURVES}
    parent = runs["small"].info.run_id
    for name, curve in CURVES.items():
        assert runs[name].data.tags["mlflow.parentRunId"] == parent
        points = client.get_metric_history(runs[name].info.run_id, "loss")
        assert [(point.step, point.value) for point in points] == curve
    assert runs[ENDED.name].data.params == {
        "construction": "att",
        "rank_input": "4",
        "learning_rate": "0.001",
    }
    assert runs[ENDED.name].info.status == "FINISHED"
    assert runs[ENDED.name].data.tags["ending"] == "completed"
    assert runs[TRIED_AGAIN.name].info.status == "FAILED"
    assert {file.path for file in client.list_artifacts(parent)} == {"result.csv", "result.md"}
    path = client.download_artifacts(parent, "result.csv")
    assert Path(path).read_text() == TABLE.to_csv()
    # Another study of the same name has runs of its own, in the experiment that it is told.
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    other = MlflowLogger("small", "3c4d")
    assert not other.has_run("0", ENDED.name)
    other.start(ENDED, earlier=None)
    other.close()
    assert read_runs(client, "mine")[ENDED.name].info.status == "KILLED"


def test_a_server_that_does_not_answer_is_one_line_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mlflow_logger, "_PATIENCE", 0.5)
    server = HTTPServer(("127.0.0.1", 0), type("Mute", (), {}))  # accepts, and never answers
    uri = f"http://me:secret@127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    begin = time.monotonic()
    message = (
        f"^--log mlflow: no answer from http://127.0.0.1:{server.server_port} in 0.5 s; "
        "start the server, or set MLFLOW_TRACKING_URI$"
    )
    with pytest.raises(LoggerError, match=message):
        MlflowLogger("small", "1a2b")
    assert time.monotonic() - begin < 3
    server.server_close()


def test_a_deleted_experiment_is_one_line(client: MlflowClient) -> None:
    client.delete_experiment(client.create_experiment("allocator"))
    message = "experiment 'allocator' was deleted: set MLFLOW_EXPERIMENT_NAME"
    with pytest.raises(LoggerError, match=f"^--log mlflow: file:.*: {message}; see MLFLOW_T"):
        MlflowLogger("small", "1a2b")


@pytest.mark.parametrize(
    "parts", ["me:s3cr/3t@host/db", "me:s3cr3t@4@host/db", "host/db?user=me&password=s3cr3t"]
)
def test_a_store_without_a_driver_is_one_line_that_shows_no_secret(
    parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql+nosuch://{parts}")
    with pytest.raises(LoggerError, match=r"^--log mlflow: postgresql\+nosuch://") as caught:
        MlflowLogger("study", "identity")
    assert "s3cr" not in str(caught.value)
    assert "\n" not in str(caught.value)
