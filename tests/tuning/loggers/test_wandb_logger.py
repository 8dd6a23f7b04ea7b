"""Runs of Weights & Biases offline, read from the files that `wandb sync` uploads."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import wandb

from allocator.errors import LoggerError
from allocator.tuning.loggers.wandb_logger import WandbLogger
from tests.tuning.loggers.two_processes import (
    BROKEN_OFF,
    CURVES,
    ENDED,
    TRIED_AGAIN,
    log_in_two_processes,
)

_RECORDS = import_module("wandb.proto.wandb_internal_pb2")  # its types are not declared
_HEADER, _BLOCK, _WHOLE, _LAST = struct.Struct("<IHB"), 32_768, 1, 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for wandb's files, without anybody's settings."""
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    wandb.teardown()  # or settings of another test would hold
    yield tmp_path
    wandb.teardown()


def list_records(path: Path) -> Iterator[Any]:
    """List the records of a file, which is LevelDB's log with a header of seven bytes."""
    content, place, record = path.read_bytes(), _HEADER.size, b""
    while place + _HEADER.size <= len(content):
        if (left := _BLOCK - place % _BLOCK) < _HEADER.size:
            place += left
            continue
        _, size, kind = _HEADER.unpack_from(content, place)
        place += _HEADER.size
        record += content[place : place + size]
        place += size
        if kind in (_WHOLE, _LAST):
            yield _RECORDS.Record.FromString(record)
            record = b""


def read_fragments(folder: Path) -> list[dict[str, object]]:
    """Read the files in the order of their start: one for each run and process."""
    wandb.teardown()  # another process writes the files, and has until then
    fragments = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda p: p.stat().st_mtime):
        found: dict[str, object] = {}
        curve: list[tuple[int, float]] = []
        for record in list_records(path):
            if record.HasField("run"):
                run = record.run
                config = {entry.key: json.loads(entry.value_json) for entry in run.config.update}
                found |= {"id": run.run_id, "name": run.display_name, "group": run.run_group}
                found |= {"project": run.project, "config": config}
            if record.HasField("history"):
                values = {i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
                if "loss" in values:
                    curve.append((values["_step"], values["loss"]))
                found["result"] = found.get("result") or "result" in values
            if record.HasField("exit"):
                found["exit"] = record.exit.exit_code
        fragments.append({**found, "curve": curve})
    return fragments


def test_two_processes_log_each_curve_once_and_the_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_in_two_processes(lambda: WandbLogger("small", "1a2b"))
    fragments = read_fragments(folder)
    assert {(f["group"], f["project"]) for f in fragments} == {("small", "allocator")}
    (ended,) = (f for f in fragments if f["id"] == "1a2b-0")
    assert (ended["name"], ended["curve"], ended["exit"]) == (ENDED.name, CURVES[ENDED.name], 0)
    assert isinstance(ended["config"], dict)
    assert ENDED.hyperparameters.items() <= ended["config"].items()
    # `wandb sync` joins what has one id.
    parts = [f for f in fragments if f["id"] == "1a2b-1"]
    assert {f["name"] for f in parts} == {BROKEN_OFF.name, TRIED_AGAIN.name}
    points = [point for part in parts for point in part["curve"]]  # type: ignore[attr-defined]
    assert sorted(points) == CURVES[TRIED_AGAIN.name]
    assert [f["exit"] for f in parts] == [1, 1]
    assert [f["result"] for f in fragments if f["id"] == "1a2b-study" and f.get("result")] == [True]


_KILLED = """
import os, signal, time
from allocator.tuning.loggers.wandb_logger import WandbLogger
from tests.tuning.loggers.two_processes import ENDED
logger = WandbLogger("small", "1a2b")
logger.start(ENDED, earlier=None)
for step in (1, 2):
    logger.log("0", step, {"loss": step / 4})
time.sleep(2)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_leaves_what_it_logged(folder: Path) -> None:
    command = [sys.executable, "-c", _KILLED]
    environment = {**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    (curve,) = (f["curve"] for f in read_fragments(folder) if f.get("id") == "1a2b-0")
    assert curve == [(1, 0.25), (2, 0.5)]


def test_the_project_of_the_environment_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    logger = WandbLogger("small", "1a2b")
    logger.close()
    assert [f["project"] for f in read_fragments(folder)] == ["mine"]
    assert logger.address == "offline, project mine, group small"


@pytest.mark.usefixtures("folder")
def test_nobody_logged_in_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(LoggerError, match=r"^--log wandb: No API key configured.*WANDB_MODE=offl"):
        WandbLogger("small", "1a2b")
