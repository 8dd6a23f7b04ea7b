"""Exported folders, used without this package."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from allocator.errors import StudyError
from allocator.files.recipe import Recipe
from allocator.files.study_folder import RECIPE_FILE
from allocator.files.yaml_files import write_yaml
from allocator.trained import export_folder
from allocator.trained.export_folder import write_export
from allocator.trained.prediction_files import PredictionInput
from allocator.trained.predictions import predict
from allocator.trained.trained_adapter import TrainedAdapter, load_trained

SENTENCE = "The dog saw the cat."

pytestmark = pytest.mark.filterwarnings(
    # PEFT asks a model for what transformers has renamed.
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


@pytest.fixture
def trained(tiny_study: Path) -> TrainedAdapter:
    return load_trained(tiny_study, tiny_study)


def compute_logits(model: nn.Module, folder: Path) -> Tensor:
    tokens = AutoTokenizer.from_pretrained(folder)(SENTENCE, return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens).logits
    assert isinstance(logits, Tensor)
    return logits


def test_peft_and_transformers_load_the_lora_with_the_same_logits(
    trained: TrainedAdapter, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    delivered = write_export(trained, "peft", tmp_path / "lora")
    base = AutoModelForSequenceClassification.from_pretrained(tiny_recipe.model.name)
    lora = PeftModel.from_pretrained(base, str(tmp_path / "lora"))
    expected = compute_logits(trained.attached.model, tmp_path / "lora")
    torch.testing.assert_close(compute_logits(lora, tmp_path / "lora"), expected, rtol=0, atol=1e-5)
    assert delivered.adapter_parameters == tiny_recipe.num_parameters
    assert delivered.exported_parameters == 6 * 4 * (32 + 32)  # rank 4 at 6 sites


def test_the_merged_model_answers_in_a_pipeline_as_the_adapter_does(
    trained: TrainedAdapter, tmp_path: Path
) -> None:
    ((_, prediction),) = predict(trained, [PredictionInput(inputs=(SENTENCE,), where="input")])
    assert write_export(trained, "merged", tmp_path / "model").exported_parameters == 0
    (answer,) = pipeline("text-classification", str(tmp_path / "model"), device="cpu")(SENTENCE)
    assert answer["label"] == prediction.answers[0]
    assert answer["score"] == pytest.approx(float(prediction.as_fields()[1]), abs=1e-4)


def test_an_export_says_that_an_input_may_have_several_labels(
    tiny_study: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    task = tiny_recipe.task.model_copy(
        update={"labels": ("toxic", "insult"), "is_multi_label": True}
    )
    write_yaml(tiny_study / RECIPE_FILE, tiny_recipe.model_copy(update={"task": task}), "Labels.")
    trained = load_trained(tiny_study, tiny_study)
    likely = (
        compute_logits(trained.attached.model, Path(tiny_recipe.model.name)).sigmoid()[0].tolist()
    )
    write_export(trained, "peft", tmp_path / "lora")
    card = (tmp_path / "lora" / "README.md").read_text(encoding="utf-8")
    assert "problem_type='multi_label_classification'" in card
    write_export(trained, "merged", tmp_path / "model")
    assert "top_k=None" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    classify = pipeline("text-classification", str(tmp_path / "model"), device="cpu", top_k=None)
    answered: Any = classify([SENTENCE])
    (answers,) = answered
    assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(
        dict(zip(task.labels, likely, strict=True)), abs=1e-4
    )


@pytest.mark.parametrize("how", ["peft", "merged"])
def test_the_card_names_base_task_score_and_budget(
    how: export_folder.ExportFormat, trained: TrainedAdapter, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    write_export(trained, how, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert header["base_model"] == tiny_recipe.model.name
    assert header["library_name"] == ("peft" if how == "peft" else "transformers")
    for words in ("cola", "0.9000 on held out", "226 of a budget of 1,000", "from transformers"):
        assert words in card


def test_the_snippet_of_the_card_loads_the_lora_with_the_names_of_the_classes(
    trained: TrainedAdapter, tmp_path: Path
) -> None:
    write_export(trained, "peft", tmp_path / "lora")
    card = (tmp_path / "lora" / "README.md").read_text(encoding="utf-8")
    snippet = card.split("```python\n")[1].split("```")[0]
    loaded: dict[str, Any] = {}
    exec(snippet.replace("path/to/this/folder", str(tmp_path / "lora")), loaded)
    assert loaded["model"].config.id2label == {0: "0", 1: "1"}
    torch.testing.assert_close(
        compute_logits(loaded["model"].eval(), tmp_path / "lora"),
        compute_logits(trained.attached.model, tmp_path / "lora"),
        rtol=0,
        atol=1e-5,
    )


def test_the_snippet_loads_a_base_that_was_made_for_other_classes(
    trained: TrainedAdapter, tiny_bert: Path, tmp_path: Path
) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3)
    base.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "base")
    source = dataclasses.replace(
        trained.source, name=str(tmp_path / "base"), folder=tmp_path / "base"
    )
    write_export(dataclasses.replace(trained, source=source), "peft", tmp_path / "lora")
    card = (tmp_path / "lora" / "README.md").read_text(encoding="utf-8")
    snippet = card.split("```python\n")[1].split("```")[0]
    loaded: dict[str, Any] = {}
    exec(snippet.replace("path/to/this/folder", str(tmp_path / "lora")), loaded)
    torch.testing.assert_close(
        compute_logits(loaded["model"].eval(), tmp_path / "lora"),
        compute_logits(trained.attached.model, tmp_path / "lora"),
        rtol=0,
        atol=1e-5,
    )


def test_a_folder_with_content_is_refused_and_kept(trained: TrainedAdapter, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").touch()
    message = f"{output} is not an empty folder; give another --output"
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        write_export(trained, "merged", output)
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_nothing_half_written_stays(
    trained: TrainedAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_folder, "write_model_card", fail)
    output = tmp_path / "new" / "out"
    message = f"{output} cannot be written: No space left on device"
    with pytest.raises(StudyError, match=f"^{re.escape(message)}$"):
        write_export(trained, "merged", output)
    assert not list(output.parent.iterdir())


def test_an_empty_folder_is_filled(trained: TrainedAdapter, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_export(trained, "merged", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_texts_are_cut_where_the_adapter_was_trained_to_read(
    trained: TrainedAdapter, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    write_export(trained, "merged", tmp_path / "model")
    saved = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert saved.model_max_length == tiny_recipe.training.max_length
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    example = example.replace("path/to/this/folder", str(tmp_path / "model"))
    exec(compile(example.replace("A text.", SENTENCE * 50), "card", "exec"), {})
