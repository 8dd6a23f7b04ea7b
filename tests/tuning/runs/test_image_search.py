"""A search on images from the command, and its result trained again."""

from __future__ import annotations

import html
import io
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageClassification

from allocator import export, predict, train
from allocator.command_line.parser import run_command
from allocator.files.recipe import read_recipe
from allocator.files.study_folder import RECIPE_FILE, REPORT_FILE, RESULT_FILE, TRAINED_FOLDER
from allocator.search import main as search
from allocator.trained.trained_adapter import load_trained


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_search_on_a_task_file_of_images_ends_in_a_recipe_that_trains_answers_and_is_exported(
    tiny_image_models: dict[str, Path],
    image_task: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ["--budget", "600", "--trials", "2", "--epochs", "15", "--slots", "2"]
    places = ["--model", str(tiny_image_models["dinov2"]), "--studies-dir", str(tmp_path)]
    precision = ["--precision", "float32", "--batch-size", "8", "--study", "small", "--quiet"]
    given = ["--task", str(image_task), *options, *places, *precision]
    assert run_command(search, given) == 0
    best = tmp_path / "small" / RECIPE_FILE
    recipe = read_recipe(best)
    assert (recipe.task.name, recipe.task.source) == ("colors", f"file:{image_task.resolve()}")
    report = (best.parent / REPORT_FILE).read_text("utf-8")
    assert "< paths.txt" in html.unescape(report)
    assert "tokens at most" not in report.split("<body>")[1]
    assert run_command(train.main, ["--config", str(best)]) == 0
    scores = read_recipe(best.parent / TRAINED_FOLDER / RESULT_FILE).scores
    assert float(scores["accuracy"]) > 0.5  # of three classes that differ in their colour

    capsys.readouterr()
    folder = next((image_task.parent).rglob("*.png")).parent
    paths = sorted(folder.glob("*.png"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{path}\n" for path in paths)))
    assert run_command(predict.main, ["--study", "small", "--studies-dir", str(tmp_path)]) == 0
    answers = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == len(paths)
    assert answers.count(folder.name) > len(answers) / 2
    monkeypatch.setattr(sys, "stdin", io.StringIO("nowhere.png\n"))
    assert run_command(predict.main, ["--study", "small", "--studies-dir", str(tmp_path)]) == 2
    assert "standard input:1: a line must be the path of an image" in capsys.readouterr().err
    for how in ("peft", "merged"):
        given = ["--study", "small", "--studies-dir", str(tmp_path), "--format", how]
        assert run_command(export.main, [*given, "--output", str(tmp_path / how)]) == 0
        assert (tmp_path / how / "preprocessor_config.json").is_file()
    assert_alike(tmp_path, tiny_image_models["dinov2"])


def assert_alike(folder: Path, base: Path) -> None:
    """The trained model, PEFT's LoRA of it and the merged model give the same logits."""
    trained = load_trained(folder / "small", folder)
    plain = AutoModelForImageClassification.from_pretrained(base, num_labels=3)
    models = [
        trained.attached.model,
        PeftModel.from_pretrained(plain, folder / "peft"),
        AutoModelForImageClassification.from_pretrained(folder / "merged"),
    ]
    pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, *others = (model.eval()(pixel_values=pixels).logits for model in models)
    for logits in others:
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
