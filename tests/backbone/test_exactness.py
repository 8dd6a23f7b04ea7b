"""What trains is what is exported; where that cannot be, one line says so before training."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoTokenizer,
    BertConfig,
    ConvBertConfig,
    DebertaV2Config,
    DogeConfig,
    Gemma2Config,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from allocator.backbone.exactness import choose_forward_path
from allocator.data.sources import TaskData
from allocator.data.tasks import Examples
from allocator.errors import DataError, ModelError
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import ModelSource, locate_model
from allocator.workers.setup import TrainingSetup
from tests.backbone.exact_training import CPU, assert_exact, make_setup, train_two
from tests.backbone.tiny_architectures import tiny_model

ALL, QUERY, FUSED = ("query", "key", "value"), ("query",), ("Wqkv",)
Make = Callable[..., ModelSource]

# PEFT reads an attribute that transformers has renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


@pytest.fixture
def make(tiny_roberta: Path, tmp_path: Path) -> Make:
    """A function that saves a tiny model, changed on request, with a tokenizer."""

    def make(
        config: type[PretrainedConfig], change: Callable[[PreTrainedModel], None] = lambda _: None
    ) -> ModelSource:
        folder = tmp_path / "model"
        tokens = AutoTokenizer.from_pretrained(tiny_roberta)
        model = tiny_model(
            config, of_images=False, vocab_size=len(tokens), pad_token_id=tokens.pad_token_id
        )
        with torch.no_grad():
            change(model)
        model.save_pretrained(folder)
        tokens.save_pretrained(folder)
        return locate_model(str(folder), tmp_path / "cache")

    return make


def train_exactly(
    source: ModelSource, targets: tuple[str, ...], data: TaskData, folder: Path
) -> TrainingSetup:
    setup = make_setup(source, read_backbone_shape(source, targets), data)
    for report in train_two(setup, folder):
        assert_exact(setup, report, folder)
    return setup


def configure(source: ModelSource, **changes: object) -> None:
    """Change entries of a checkpoint's configuration."""
    file = source.folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def with_large_scores(model: PreTrainedModel) -> None:
    """Set two large biases in every head of query and key, as the real Qwen2 has them."""
    for name, parameter in model.named_parameters():
        if name.endswith(("q_proj.bias", "k_proj.bias")):
            parameter.view(-1, 8)[:, 2:4] = 16.0


def test_scores_beyond_what_an_exponential_holds_are_attended_as_by_transformers(
    make: Make, small_task: TaskData, tmp_path: Path
) -> None:
    setup = train_exactly(make(Qwen2Config, with_large_scores), QUERY, small_task, tmp_path)
    assert setup.path.reason == ""


def with_mean_pooling(model: PreTrainedModel) -> None:
    model.config.classifier_pooling = "mean"


@pytest.mark.parametrize(
    ("config", "targets", "change"),
    [
        (ModernBertConfig, FUSED, with_mean_pooling),
        (AlbertConfig, ALL, lambda _: None),
    ],
    ids=["a head that averages over tokens", "a pooler that is one linear layer"],
)
def test_a_head_reads_what_it_reads_in_transformers(
    config: type[PretrainedConfig],
    targets: tuple[str, ...],
    change: Callable[[PreTrainedModel], None],
    make: Make,
    small_task: TaskData,
    tmp_path: Path,
) -> None:
    setup = train_exactly(make(config, change), targets, small_task, tmp_path)
    assert setup.path.reason == ""


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Gemma2Config, "fast attention does not support softcap, which the model asks for"),
        (DogeConfig, "gradients on a padded batch differ by"),
    ],
)
def test_an_attention_of_its_own_is_kept_and_a_line_says_why(
    config: type[PretrainedConfig],
    reason: str,
    make: Make,
    small_task: TaskData,
    tmp_path: Path,
) -> None:
    path = train_exactly(make(config), QUERY, small_task, tmp_path).path
    assert (path.own_layers, path.packs) == (True, True)
    assert path.description.startswith("transformers' own attention, because ")
    assert reason in path.description


def test_positions_that_pass_through_adapted_projections_train_one_trial_at_a_time(
    make: Make, small_task: TaskData, tmp_path: Path
) -> None:
    path = train_exactly(make(DebertaV2Config), ALL, small_task, tmp_path).path
    assert path.description.startswith("transformers' own attention, one trial at a time, because ")


def test_a_model_that_mixes_padding_into_its_answers_is_refused_in_one_line(
    make: Make, small_task: TaskData
) -> None:
    source = make(ConvBertConfig)
    message = (
        f"model '{source.name}' cannot be trained exactly: logits on a padded batch differ by "
        r".* from transformers' own on each example alone, where the largest is .*; choose another "
        "--model"
    )
    with pytest.raises(ModelError, match=f"^{message}$"):
        choose_forward_path(source, ALL, small_task, max_length=64, device=CPU)


@pytest.mark.parametrize(
    "changes",
    [
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression"},
        {"id2label": {"0": "x", "1": "y", "2": "z"}, "label2id": {"x": 0, "y": 1, "z": 2}},
        {"pad_token_id": 7},
        {"pad_token_id": None},
        {"hidden_dropout_prob": 0.9, "classifier_dropout": 0.9},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_checkpoints_own_configuration_does_not_decide_the_task(
    changes: dict[str, object], make: Make, small_task: TaskData, tmp_path: Path
) -> None:
    source = make(BertConfig)
    configure(source, **changes)
    assert train_exactly(source, ALL, small_task, tmp_path).path.reason == ""


def test_a_token_that_a_checkpoint_calls_padding_is_a_token_where_the_tokenizer_says_so(
    make: Make, small_task: TaskData, tmp_path: Path
) -> None:
    source = make(Qwen2Config)
    configure(source, pad_token_id=2)  # the token that ends every sentence
    assert train_exactly(source, QUERY, small_task, tmp_path).path.reason == ""


def test_scores_are_learnt_on_a_checkpoint_that_was_made_for_classes(
    make: Make, small_task: TaskData, tmp_path: Path
) -> None:
    source = make(BertConfig)
    configure(source, problem_type="single_label_classification")
    train, dev = (
        Examples(inputs=split.inputs, labels=tuple(len(text[0]) / 20 for text in split.inputs))
        for split in (small_task.train, small_task.dev)
    )
    task = dataclasses.replace(small_task.task, labels=(), metric="pearson_and_spearman")
    scores = dataclasses.replace(small_task, task=task, train=train, dev=dev)
    train_exactly(source, ALL, scores, tmp_path)


def test_a_token_that_the_model_has_no_embedding_of_is_refused_where_a_text_has_it(
    make: Make, small_task: TaskData
) -> None:
    source = make(BertConfig)
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["<image>"])
    tokenizer.save_pretrained(source.folder)
    assert choose_forward_path(source, ALL, small_task, max_length=64, device=CPU).reason == ""
    inputs = (*small_task.dev.inputs[1:], ("A dog sees an <image>.",))
    dev = dataclasses.replace(small_task.dev, inputs=inputs)
    data = dataclasses.replace(small_task, dev=dev)
    message = (
        f"the tokenizer of model '{source.name}' must have ids below {rows:,}, the rows of its "
        f"embedding, got {rows:,} for token '<image>'; use its own tokenizer"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        choose_forward_path(source, ALL, data, max_length=64, device=CPU)


def test_padding_is_compared_where_all_texts_are_cut_to_one_length(
    make: Make, small_task: TaskData
) -> None:
    source = make(ConvBertConfig)
    with pytest.raises(ModelError, match="cannot be trained exactly: logits on a padded batch"):
        choose_forward_path(source, ALL, small_task, max_length=5, device=CPU)


def test_a_text_without_tokens_is_named_before_anything_trains(
    make: Make, small_task: TaskData
) -> None:
    source = make(BertConfig)
    file = source.folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"post_processor": None}), encoding="utf-8")
    inputs = list(small_task.dev.inputs)
    inputs[3] = (" ",)
    dev = dataclasses.replace(small_task.dev, inputs=tuple(inputs))
    message = (
        f"dev of task 'cola' has an example without tokens for model '{source.name}': (' ',); "
        "remove it or fill it in"
    )
    data = dataclasses.replace(small_task, dev=dev)
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        choose_forward_path(source, ALL, data, max_length=64, device=CPU)
