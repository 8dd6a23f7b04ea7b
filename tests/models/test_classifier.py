"""A model is loaded for the task that is asked for, whatever task its checkpoint was made for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    GPTJConfig,
    MptConfig,
    OPTConfig,
    PretrainedConfig,
    T5GemmaConfig,
    XLMConfig,
)

from allocator.models.classifier import load_classifier
from allocator.models.model_source import ModelSource
from tests.backbone.tiny_architectures import tiny_model


def save(config: type[PretrainedConfig], tokenizer: Path, folder: Path) -> ModelSource:
    tokens = AutoTokenizer.from_pretrained(tokenizer)
    model = tiny_model(
        config, of_images=False, vocab_size=len(tokens), pad_token_id=tokens.pad_token_id
    )
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return ModelSource(name="tiny", folder=folder, sha256="")


def with_dropout(content: dict[str, object]) -> dict[str, object]:
    """Set every kind of dropout in a configuration, and in those inside of it, to a half."""
    return {
        name: with_dropout(value)
        if isinstance(value, dict)
        else 0.5
        if "drop" in name and isinstance(value, float)
        else value
        for name, value in content.items()
    }


@pytest.mark.parametrize("config", [BertConfig, GPTJConfig, OPTConfig, XLMConfig, T5GemmaConfig])
def test_no_dropout_of_any_name_is_left_where_none_is_wanted(
    config: type[PretrainedConfig], tiny_roberta: Path, tmp_path: Path
) -> None:
    source = save(config, tiny_roberta, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(with_dropout(json.loads(file.read_text()))))
    inputs = {"input_ids": torch.arange(4, 24).view(2, 10), "attention_mask": torch.ones(2, 10)}
    inputs["input_ids"][:, -1] = 2  # the end, from which some classify

    def answers(*, has_dropout: bool) -> list[torch.Tensor]:
        model, _ = load_classifier(source, 2, has_dropout=has_dropout)
        with torch.no_grad():
            return [model.train()(**inputs).logits for _ in range(2)]

    first, again = answers(has_dropout=True)
    assert not torch.equal(first, again)
    first, again = answers(has_dropout=False)
    assert torch.equal(first, again)


def test_dropout_of_a_configuration_that_insists_on_integers_is_removed_too(
    tiny_roberta: Path, tmp_path: Path
) -> None:
    source = save(MptConfig, tiny_roberta, tmp_path)
    model, _ = load_classifier(source, 2, has_dropout=False)
    assert model.config.attn_config.attn_pdrop == 0


def test_the_classes_of_the_task_are_kept_with_the_model(
    tiny_roberta: Path, tmp_path: Path
) -> None:
    source = save(BertConfig, tiny_roberta, tmp_path)
    model, missing = load_classifier(source, 3, labels=("cat", "dog", "eel"))
    assert model.config.id2label == {0: "cat", 1: "dog", 2: "eel"}
    assert model.config.label2id == {"cat": 0, "dog": 1, "eel": 2}
    assert missing == {"classifier.weight", "classifier.bias"}
    assert model.config.problem_type == "single_label_classification"
    several, _ = load_classifier(source, 3, labels=("cat", "dog", "eel"), is_multi_label=True)
    assert several.config.problem_type == "multi_label_classification"
    scores, _ = load_classifier(source, 1)
    assert (scores.config.problem_type, scores.config.id2label) == ("regression", {0: "score"})
