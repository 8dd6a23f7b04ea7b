"""The command that lists search spaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator import spaces
from allocator.command_line.parser import run_command
from allocator.tuning.space.space_file import list_preset_names


def listed(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, list[str]]:
    """The lines that are printed for every space, by its name."""
    assert run_command(spaces.main, arguments) == 0
    _, *blocks = capsys.readouterr().out.strip().split("\n\n")
    lines = [[" ".join(line.split()) for line in block.splitlines()] for block in blocks]
    return {first.partition(":")[0]: [first, *rest] for first, *rest in lines}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_a_space_is_listed_with_its_ranges_and_what_fits(
    capsys: pytest.CaptureFixture[str], tiny_bert: Path
) -> None:
    blocks = listed(capsys, ["--model", str(tiny_bert), "--budget", "1000", "lora_plus", "lora"])
    assert blocks["lora_plus"] == [
        "lora_plus: matrix, matrix",
        "targets query, key, value of 2 layers (32 to 32, 4 heads)",
        "rank 1 to 32",
        "core_lr_multiplier 1 to 128, logarithmic",
        "learning_rate 1e-05 to 0.01, logarithmic",
        "within 1,000 2 allocations of ranks, of 384 to 768 parameters",
    ]
    assert "core_lr_multiplier 1, fixed" in blocks["lora"]


def test_without_names_all_presets_are_listed(
    capsys: pytest.CaptureFixture[str], tiny_bert: Path
) -> None:
    assert list(listed(capsys, ["--model", str(tiny_bert)])) == list_preset_names()


def test_a_space_that_does_not_fit_says_why_and_the_others_are_listed(
    capsys: pytest.CaptureFixture[str], tiny_bert: Path
) -> None:
    blocks = listed(capsys, ["--model", str(tiny_bert), "--budget", "200", "lora", "tenslora_plus"])
    assert blocks["lora"][1].startswith("does not fit budget must be at least 384 (the smallest")
    assert blocks["tenslora_plus"][-1].startswith("within 200")


def test_a_model_that_a_space_cannot_adapt_is_said_with_the_space(
    capsys: pytest.CaptureFixture[str], tiny_llama: Path
) -> None:
    blocks = listed(capsys, ["--model", str(tiny_llama), "lora", "tenslora_plus"])
    assert blocks["tenslora_plus"][1].startswith(
        "does not fit att_qkv_depth stacks all targets into one tensor"
    )
    assert blocks["lora"][1] == (
        "targets query, key, value of 2 layers "
        "(32 to 32 or 16, 4 heads (query), 2 heads (key, value))"
    )


def test_a_users_file_is_measured_by_the_rank_of_a_lora(
    capsys: pytest.CaptureFixture[str], tiny_bert: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "construction: matrix\nfactorization: matrix\n"
        "targets: [query, key, value, output]\nparameters: {rank: {low: 2, high: 9}}\n"
    )
    (lines,) = listed(capsys, ["--model", str(tiny_bert), "--budget", "lora:4", str(file)]).values()
    assert "rank 2 to 9" in lines
    assert lines[-1] == "within 2,048 3 allocations of ranks, of 1,024 to 2,048 parameters"


def test_an_unknown_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(spaces.main, ["lroa"]) == 2
    assert "error: unknown search space 'lroa': did you mean 'lora'?" in capsys.readouterr().err
