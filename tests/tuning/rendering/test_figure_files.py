"""Figures as files: HTML always, PNG where a browser is."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path

import plotly.graph_objects as go
import psutil
import pytest
from PIL import Image

from allocator.tuning.figures.appearance import COLOURS
from allocator.tuning.rendering import png
from allocator.tuning.rendering.figure_files import save_figures

FIGURES = {
    "bars": go.Figure(go.Bar(x=[1, 2], y=[2, 1], marker_color=COLOURS["input"])),
    "wide": go.Figure(go.Bar(x=[1, 2], y=[2, 1]), layout={"width": 1200, "height": 300}),
}


def test_drawing_imports_nothing_that_reads_the_options_of_the_command() -> None:
    program = (
        "import allocator.tuning.rendering.figure_files, sys; print('logistro' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "--log", "tensorboard"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.usefixtures("browser")
def test_a_browser_draws_every_figure_in_its_size_and_colours(tmp_path: Path) -> None:
    warnings: list[str] = []
    folder = tmp_path / "figures"
    assert save_figures(folder, FIGURES, warn=warnings.append) == folder
    assert not warnings
    names = ["bars.html", "bars.png", "plotly.min.js", "wide.html", "wide.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    with Image.open(tmp_path / "figures" / "bars.png") as picture:
        assert picture.size == (2000, 1120)
        colours = picture.convert("RGB").getcolors(picture.width * picture.height)
    assert tuple(bytes.fromhex(COLOURS["input"][1:])) in {colour for _, colour in colours or []}
    with Image.open(tmp_path / "figures" / "wide.png") as picture:
        assert picture.size == (2400, 600)


def test_html_takes_plotly_from_the_file_beside_it_and_nothing_from_a_network(
    tmp_path: Path,
) -> None:
    save_figures(tmp_path, FIGURES, warn=lambda _: None)
    text = (tmp_path / "bars.html").read_text("utf-8")
    assert 'src="plotly.min.js"' in text
    assert "://" not in text.replace("http://www.w3.org", "")
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000


def test_without_a_browser_html_alone_is_written_and_a_line_says_so(tmp_path: Path) -> None:
    warnings: list[str] = []
    save_figures(tmp_path, FIGURES, warn=warnings.append)
    assert {path.suffix for path in tmp_path.iterdir()} == {".html", ".js"}
    (line,) = warnings
    assert "no browser was found" in line
    assert "apt-get install chromium" in line


@pytest.mark.parametrize(
    ("command", "patience"), [("exit 3", 20.0), ("sleep 600", 4.0)], ids=["ends", "hangs"]
)
def test_a_browser_that_fails_costs_the_pictures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, patience: float
) -> None:
    broken = tmp_path / "browser"
    broken.write_text(f"#!/bin/sh\n{command}\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BROWSER_PATH", str(broken))
    monkeypatch.setattr(png, "_TIMEOUT", patience)
    warnings: list[str] = []
    save_figures(tmp_path / "figures", FIGURES, warn=warnings.append)
    assert len(list((tmp_path / "figures").glob("*.html"))) == len(FIGURES)
    assert "the browser failed" in warnings[0]
    deadline = time.monotonic() + 10  # a killed process may take a moment to go
    while (left := _running(broken)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def _running(program: Path) -> list[list[str]]:
    """Give the command lines of processes that run the program."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(program) in line]


def test_nothing_to_draw_leaves_no_folder(tmp_path: Path) -> None:
    assert save_figures(tmp_path / "figures", {}, warn=lambda _: None) is None
    assert not (tmp_path / "figures").exists()
