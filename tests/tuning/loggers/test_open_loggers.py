"""The option --log: what it needs before anything is imported, and what it leaves alone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from allocator.errors import LoggerError
from allocator.files.study_folder import TENSORBOARD_FOLDER, logged_path
from allocator.tuning.loggers.logger import LoggedRun
from allocator.tuning.loggers.open_loggers import open_loggers
from tests.tuning.loggers.event_files import read_runs

RUN = LoggedRun(key="0", name="00000-baseline-seed-0", purpose="baseline", hyperparameters={})

# Ends the process if a package is imported that takes long, and finds no package `wandb`.
_WITHOUT_WANDB = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["optuna"] = None
class WithoutWandb:
    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = found(name, path, target)
        return spec if name != "wandb" or spec is None or spec.origin is None else None
import importlib.machinery as machinery
found = machinery.PathFinder.find_spec
sys.meta_path[sys.meta_path.index(machinery.PathFinder)] = WithoutWandb
from allocator.__main__ import dispatch
from allocator.command_line.parser import run_command
sys.exit(run_command(dispatch))
"""


@pytest.mark.parametrize("has_folder", [False, True])
@pytest.mark.parametrize("command", [["search", "--budget", "900"], ["sweep", "tenslora-plus"]])
def test_a_missing_package_is_one_line_before_anything_slow_is_imported(
    command: list[str], has_folder: bool, tmp_path: Path
) -> None:
    if has_folder:  # where wandb keeps its files; Python takes it for a package
        (tmp_path / "wandb").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT_WANDB, *command, "--task", "cola", "--log", "wandb"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    needs = "error: --log wandb needs the package wandb; run: pip install 'allocator[wandb]'\n"
    assert (ended.returncode, ended.stderr) == (2, needs)


def test_nothing_is_written_before_the_first_run_starts(tmp_path: Path) -> None:
    folder, console = tmp_path / "study", Console(file=io.StringIO(), width=200)
    with open_loggers(["tensorboard"], folder, console) as loggers:
        assert not folder.exists()
        loggers.start(RUN)
        loggers.log("0", 1, {"loss": 0.5})
    assert read_runs(folder / TENSORBOARD_FOLDER).keys() == {RUN.name}
    assert logged_path(folder, "tensorboard").exists()
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == f"tensorboard {folder / TENSORBOARD_FOLDER}\n"


def test_without_a_name_nothing_is_logged_and_nothing_said(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    with open_loggers([], tmp_path / "study", console) as loggers:
        loggers.start(RUN)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_warns_on_standard_error_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study").touch()
    with open_loggers(["tensorboard"], tmp_path / "study", Console(quiet=True)) as loggers:
        loggers.start(RUN)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tensorboard failed (NotADirectoryError: ")
    assert "the same command again logs what is missing" in captured.err


def test_loggers_that_were_opened_are_closed_if_another_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    console = Console(file=io.StringIO())
    with (
        pytest.raises(LoggerError, match=r"^--log wandb: "),
        open_loggers(["tensorboard", "wandb"], tmp_path / "study", console),
    ):
        pass
    assert not (tmp_path / "study").exists()
    assert "log-tensorboard" not in {thread.name for thread in threading.enumerate()}
