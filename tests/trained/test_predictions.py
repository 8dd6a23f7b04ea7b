"""Predictions of a trained adapter, line by line."""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from allocator.adapters.saved import load_adapter
from allocator.backbone.backbone import Backbone
from allocator.errors import CheckpointError, DataError, ModelError, UnknownNameError
from allocator.files.recipe import Recipe
from allocator.files.study_folder import ADAPTER_FILE, RECIPE_FILE
from allocator.files.yaml_files import write_yaml
from allocator.models.attached import attach_saved
from allocator.models.model_source import ModelSource
from allocator.models.preprocessors import load_tokenizer
from allocator.trained.prediction_files import read_lines
from allocator.trained.predictions import predict
from allocator.trained.trained_adapter import TrainedAdapter, load_model, load_trained

SENTENCES = ["The dog saw the cat.", "Dog the.", "A child slept", "the old teacher read a book ."]


@pytest.fixture
def trained(tiny_study: Path) -> TrainedAdapter:
    return load_trained(tiny_study, tiny_study)


def answers(trained: TrainedAdapter, lines: Iterable[str]) -> list[tuple[str, ...]]:
    asked = read_lines(lines, trained.recipe.task.text_columns, origin="input")
    return [prediction.as_fields() for _, prediction in predict(trained, asked)]


def test_every_line_is_answered_as_the_searchs_own_model_answers_it_alone(
    trained: TrainedAdapter, tiny_study: Path, tiny_backbone: Backbone, tiny_source: ModelSource
) -> None:
    saved = load_adapter(tiny_study / ADAPTER_FILE)
    head = tiny_backbone.head.copy_with_fresh_parameters(3)
    head.model.load_state_dict(dict(saved.head), strict=False)
    tiny_backbone.sites.set_updates([saved.adapter.compute_pairs()])
    tokenizer = load_tokenizer(tiny_source)
    predictions = answers(trained, [f"{sentence}\n" for sentence in SENTENCES])
    for sentence, (label, probability) in zip(SENTENCES, predictions, strict=True):
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        with torch.no_grad():
            expected = head(tiny_backbone({"input_ids": ids}), {"input_ids": ids}).softmax(1)[0]
        assert label == "01"[int(expected.argmax())]
        assert float(probability) == pytest.approx(expected.max().item(), abs=1e-4)


def test_the_second_class_is_answered_above_the_recipes_threshold(
    trained: TrainedAdapter,
) -> None:
    second = {
        line: float(p) if label == "1" else 1 - float(p)
        for line, (label, p) in zip(SENTENCES, answers(trained, SENTENCES), strict=True)
    }
    middle = sorted(second.values())[1:3]
    cut = sum(middle) / 2
    training = trained.recipe.training.model_copy(
        update={"decision_threshold": math.log(cut / (1 - cut))}
    )
    recipe = trained.recipe.model_copy(update={"training": training})
    decided = answers(dataclasses.replace(trained, recipe=recipe), SENTENCES)
    assert [label for label, _ in decided] == [str(int(second[s] > cut)) for s in SENTENCES]
    for line, (label, probability) in zip(SENTENCES, decided, strict=True):
        expected = second[line] if label == "1" else 1 - second[line]
        assert float(probability) == pytest.approx(expected, abs=2e-4)


def test_of_several_labels_those_that_are_likelier_than_not_are_answered(
    trained: TrainedAdapter,
) -> None:
    task = trained.recipe.task.model_copy(
        update={"labels": ("toxic", "insult"), "is_multi_label": True}
    )
    recipe = trained.recipe.model_copy(update={"task": task})
    answered = answers(dataclasses.replace(trained, recipe=recipe), SENTENCES)
    tokenizer = load_tokenizer(trained.source)
    for sentence, found in zip(SENTENCES, answered, strict=True):
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        with torch.no_grad():
            likely = trained.attached.model(input_ids=ids).logits[0].sigmoid().tolist()
        expected = {name: p for name, p in zip(task.labels, likely, strict=True) if p > 0.5}
        assert dict(zip(found[::2], map(float, found[1::2]), strict=True)) == pytest.approx(
            expected, abs=1e-3
        )


def test_answers_do_not_depend_on_the_lines_around(trained: TrainedAdapter) -> None:
    many = answers(trained, SENTENCES * 40)
    assert many == answers(trained, SENTENCES) * 40


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("one\ttwo", "a line must have 1 text(s) (sentence), a TAB between two, got 2"),
    ],
)
def test_a_line_without_the_tasks_texts_is_named(
    line: str, message: str, trained: TrainedAdapter
) -> None:
    with pytest.raises(DataError, match=f"^input:3: {re.escape(message)}$"):
        answers(trained, [*SENTENCES[:2], line])


def test_an_empty_line_is_answered_in_its_place(trained: TrainedAdapter) -> None:
    first, second, third = answers(trained, ["The dog sleeps.", "", "Dog the."])
    assert [first, third] == answers(trained, ["The dog sleeps.", "Dog the."])
    assert second == answers(trained, ["\n"])[0]


def test_lines_that_are_not_utf8_are_named(trained: TrainedAdapter) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"The dog sleeps.\n\xff\n"), encoding="utf-8")
    with pytest.raises(DataError, match=r"^input must be UTF-8, got byte 0xff; save it as UTF-8$"):
        answers(trained, lines)


def test_pairs_are_separated_by_a_tab(
    trained: TrainedAdapter, tiny_study: Path, tiny_recipe: Recipe
) -> None:
    task = tiny_recipe.task.model_copy(update={"text_columns": ("premise", "hypothesis")})
    write_yaml(tiny_study / RECIPE_FILE, tiny_recipe.model_copy(update={"task": task}), "Pairs.")
    pairs = load_trained(tiny_study, tiny_study)
    (pair,) = answers(pairs, ["The dog saw\tthe cat."])
    assert pair != answers(trained, ["The dog saw the cat."])[0]
    with pytest.raises(DataError, match=r"2 text\(s\) \(premise, hypothesis\)"):
        answers(pairs, ["The dog saw the cat."])


def test_a_recipe_of_another_adapter_is_refused(tiny_study: Path, tiny_recipe: Recipe) -> None:
    ranks = {**tiny_recipe.adapter.ranks, "input": 5}
    adapter = tiny_recipe.adapter.model_copy(update={"ranks": ranks})
    other = tiny_recipe.model_copy(update={"adapter": adapter, "num_parameters": 274})
    write_yaml(tiny_study / RECIPE_FILE, other, "Other.")
    with pytest.raises(CheckpointError, match=r"is not the adapter of best.yaml .*; run: "):
        load_trained(tiny_study, tiny_study)


def test_a_number_of_parameters_that_the_ranks_do_not_make_is_not_believed(
    tiny_study: Path, tiny_recipe: Recipe
) -> None:
    edited = tiny_recipe.model_copy(update={"num_parameters": 100})
    write_yaml(tiny_study / RECIPE_FILE, edited, "Edited.")
    with pytest.raises(CheckpointError, match=r"^num_parameters must be 226, as many as ranks "):
        load_trained(tiny_study, tiny_study)


def test_a_study_that_is_not_there_is_named_with_those_that_are(tiny_study: Path) -> None:
    message = f"unknown study 'smal': did you mean 'small'? known are small in {tiny_study.parent}"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        load_trained(tiny_study.with_name("smal"), tiny_study)


def test_the_choice_of_a_smaller_budget_is_loaded_by_its_number(
    tiny_study: Path, tiny_recipe: Recipe
) -> None:
    smaller = tiny_recipe.model_copy(update={"budget": 300})
    write_yaml(tiny_study / "best-300.yaml", smaller, "Smaller.")
    (tiny_study / "adapter-300.safetensors").write_bytes((tiny_study / ADAPTER_FILE).read_bytes())
    assert load_trained(tiny_study, tiny_study, 300).recipe.budget == 300
    for budget in (None, 1_000):
        assert load_trained(tiny_study, tiny_study, budget).recipe.budget == 1_000
    with pytest.raises(UnknownNameError, match=r"^unknown budget '400': .*known are 1000, 300 of"):
        load_trained(tiny_study, tiny_study, 400)


def test_other_weights_than_the_studys_are_refused(tiny_study: Path, tiny_recipe: Recipe) -> None:
    model = tiny_recipe.model.model_copy(update={"sha256": "c0ffee"})
    write_yaml(tiny_study / RECIPE_FILE, tiny_recipe.model_copy(update={"model": model}), "Other.")
    with pytest.raises(ModelError, match="must have sha256 c0ffee"):
        load_trained(tiny_study, tiny_study)


def test_a_recipes_model_begins_as_its_trials_do_without_dropout(
    tiny_recipe: Recipe, tiny_backbone: Backbone
) -> None:
    model = load_model(tiny_recipe).train()
    head = tiny_backbone.head.copy_with_fresh_parameters(tiny_recipe.training.seed)
    ids = torch.arange(4, 14).view(2, 5)
    tiny_backbone.sites.set_updates([])
    torch.testing.assert_close(
        model(input_ids=ids).logits.shape, head(tiny_backbone({"input_ids": ids}), {}).shape
    )
    torch.testing.assert_close(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert model.config.id2label == {0: "0", 1: "1"}


def test_in_python_a_folder_or_a_file_names_a_result_too(
    tiny_study: Path, tiny_recipe: Recipe
) -> None:
    model = load_model(tiny_study)
    assert attach_saved(model, tiny_study).adapter.ranks == tiny_recipe.adapter.ranks
    assert load_model(tiny_study / RECIPE_FILE).config.id2label == model.config.id2label
    with pytest.raises(UnknownNameError, match=r"^unknown study 'nosuch'"):
        load_model("nosuch")
    with pytest.raises(UnknownNameError, match=r"^unknown study 'nosuch'"):
        attach_saved(load_model(tiny_recipe), "nosuch")
