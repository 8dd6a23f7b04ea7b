"""What a run prints before anything trains."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from allocator.data.sources import TaskData
from allocator.tuning.screen.header import print_banner


def print_to_text(data: TaskData) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_banner(console, data)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_banner_prints_brackets_in_a_folders_name_as_they_are(small_task: TaskData) -> None:
    reason = "data[en] has no folder CoLA"
    data = dataclasses.replace(small_task, source="bundled", passed_over=(reason,))
    assert f"- {reason}" in print_to_text(data)


def test_data_of_a_users_own_have_no_banner(small_task: TaskData) -> None:
    assert print_to_text(dataclasses.replace(small_task, source="dir:/data/glue")) == ""


def test_what_is_doubtful_about_the_data_is_said(small_task: TaskData) -> None:
    data = dataclasses.replace(small_task, source="dir:/data", remarks=("class '[en]' is alone",))
    assert print_to_text(data) == "data: class '[en]' is alone\n"
