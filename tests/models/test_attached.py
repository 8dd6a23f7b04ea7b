"""An adapter on a user's own model: what it computes, what trains, and how it comes off."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from allocator.adapters.saved import load_adapter
from allocator.backbone.backbone import load_backbone
from allocator.backbone.packed_sites import adapt_projections
from allocator.errors import CheckpointError, ModelError
from allocator.files.recipe import Recipe
from allocator.models.attached import Attached, attach, attach_saved
from allocator.models.model_source import ModelSource

IDS = torch.randint(4, 100, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(tiny_bert: Path) -> PreTrainedModel:
    return load(tiny_bert)


def load(folder: Path, num_labels: int = 2) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=num_labels)
    assert isinstance(model, PreTrainedModel)
    model.eval()
    return model


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found = model(input_ids=IDS).logits
    assert isinstance(found, Tensor)
    return found


def fill(attached: Attached, seed: int = 1) -> Attached:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        attached.adapter.zero_part.normal_(std=0.2, generator=draw)
        for parameter in attached.head_state_dict().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return attached


def train_step(model: PreTrainedModel) -> dict[str, Tensor]:
    model.zero_grad()
    model(input_ids=IDS, labels=torch.tensor([0, 1, 1])).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def state(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_fresh_adapter_changes_no_logit(model: PreTrainedModel, tiny_recipe: Recipe) -> None:
    before = logits(model)
    attach(model, tiny_recipe)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=0)


def test_an_attached_adapter_computes_what_the_search_trains(
    tiny_bert: Path, tiny_recipe: Recipe
) -> None:
    bare = AutoModel.from_pretrained(tiny_bert, attn_implementation="eager").eval()
    packed = copy.deepcopy(bare).requires_grad_(False)
    sites = adapt_projections(packed, tiny_recipe.adapter.targets)
    attached = fill(attach(bare, tiny_recipe))
    sites.set_updates([attached.adapter.compute_pairs()])
    torch.testing.assert_close(
        bare(input_ids=IDS).last_hidden_state, packed(input_ids=IDS).last_hidden_state
    )


def test_the_backbone_is_frozen_and_adapter_pooler_and_head_train(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    attached = fill(attach(model, tiny_recipe))
    gradients = train_step(model)
    adapter = {f"allocator.{name}" for name, _ in attached.adapter.named_parameters()}
    head = {f"{m}.{p}" for m in ("classifier", "bert.pooler.dense") for p in ("weight", "bias")}
    assert gradients.keys() == adapter | head
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("is_complete", [False, True], ids=["a fresh head", "a whole head"])
def test_what_trains_of_the_head_is_what_a_search_trains(
    is_complete: bool, tiny_bert: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    source = ModelSource(name="bert", folder=tiny_bert, sha256="")
    if is_complete:
        load(tiny_bert).save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
        source = dataclasses.replace(source, folder=tmp_path)
    targets = tiny_recipe.adapter.targets
    searched = load_backbone(
        source, targets, num_labels=2, precision="float32", device=torch.device("cpu")
    ).head
    training = tiny_recipe.training.model_copy(
        update={"trains_pooler": searched.trains_pooler}  # as a search notes it
    )
    attached = attach(load(tiny_bert), tiny_recipe.model_copy(update={"training": training}))
    assert attached.head_state_dict().keys() == searched.trained_state_dict().keys()
    assert ("bert.pooler.dense.weight" in attached.head_state_dict()) is not is_complete


def word_model(*, tied: bool) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config)


def test_a_head_that_predicts_words_is_frozen_unless_it_is_asked_for(
    tiny_recipe: Recipe,
) -> None:
    assert not attach(word_model(tied=False), tiny_recipe).head_state_dict()
    attached = attach(word_model(tied=False), tiny_recipe, trains_lm_head=True)
    assert attached.head_state_dict().keys() == {"lm_head.weight"}


def test_a_head_that_shares_its_weights_with_the_embeddings_cannot_train(
    tiny_recipe: Recipe,
) -> None:
    message = (
        "the head of LlamaForCausalLM cannot train: it shares its weights with the embeddings, "
        "which stay frozen"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        attach(word_model(tied=True), tiny_recipe, trains_lm_head=True)


def test_the_model_lists_the_adapters_parameters_once(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    before, weights = sum(p.numel() for p in model.parameters()), state(model)
    attached = attach(model, tiny_recipe)
    assert sum(p.numel() for p in model.parameters()) == before + attached.num_parameters
    assert attached.num_parameters == tiny_recipe.num_parameters
    after = state(model)
    assert all(torch.equal(after[name], value) for name, value in weights.items())
    assert {n for n in after if n not in weights} == {
        f"allocator.{name}" for name in attached.adapter.state_dict()
    }


def test_updates_are_computed_once_a_forward_pass(
    model: PreTrainedModel, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached = attach(model, tiny_recipe)
    pairs = Mock(wraps=attached.adapter.compute_pairs)
    monkeypatch.setattr(attached.adapter, "compute_pairs", pairs)
    logits(model)
    assert pairs.call_count == 1


def test_gradient_checkpointing_gives_the_same_gradients(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    fill(attach(model, tiny_recipe))
    model.train()
    without_dropout(model)
    expected = train_step(model)
    model.activation_checkpointing_enable()
    torch.testing.assert_close(train_step(model), expected)


def without_dropout(model: PreTrainedModel) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def test_gradients_accumulate_over_forward_passes_with_evaluations_between(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    fill(attach(model, tiny_recipe))
    expected = {name: 2 * gradient for name, gradient in train_step(model).items()}
    model.zero_grad()
    for _ in range(2):
        model(input_ids=IDS, labels=torch.tensor([0, 1, 1])).loss.backward()
        logits(model)
        with torch.inference_mode():
            model(input_ids=IDS)
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(found, expected)


def test_dropout_hides_inputs_from_the_update_only_while_the_model_trains(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    training = tiny_recipe.training.model_copy(update={"dropout": 0.5})
    fill(attach(model, tiny_recipe.model_copy(update={"training": training})))
    torch.testing.assert_close(logits(model), logits(model), rtol=0, atol=0)
    model.train()
    without_dropout(model)
    assert (logits(model) - logits(model)).abs().max() > 1e-3


def test_a_model_in_half_precision_stays_in_it_and_the_adapter_in_float32(
    tiny_bert: Path, tiny_recipe: Recipe
) -> None:
    full, half = load(tiny_bert), load(tiny_bert)
    torch.nn.Module.to(half, torch.bfloat16)
    fill(attach(full, tiny_recipe))
    attached = fill(attach(half, tiny_recipe))
    assert half.dtype == torch.bfloat16
    assert {p.dtype for p in attached.adapter.parameters()} == {torch.float32}
    assert logits(half).dtype == torch.bfloat16
    assert (logits(half).float() - logits(full)).abs().max() < 0.1


def test_detaching_leaves_the_model_as_it_was(model: PreTrainedModel, tiny_recipe: Recipe) -> None:
    model.base_model.get_submodule("embeddings").requires_grad_(False)
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    weights, before = state(model), logits(model)
    attached = fill(attach(model, tiny_recipe))
    assert (logits(model) - before).abs().max() > 0.01
    attached.detach()
    assert {name: p.requires_grad for name, p in model.named_parameters()} == trained
    torch.testing.assert_close(state(model), weights, rtol=0, atol=0)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=0)


def test_merging_keeps_the_logits_and_leaves_a_plain_model(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    names = state(model).keys()
    attached = fill(attach(model, tiny_recipe))
    expected = logits(model)
    attached.merge()
    assert state(model).keys() == names
    assert all(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)


def test_a_second_adapter_is_refused_until_the_first_is_off(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    attached = attach(model, tiny_recipe)
    message = "BertForSequenceClassification has an adapter; detach it first"
    with pytest.raises(ModelError, match=f"^{message}$"):
        attach(model, tiny_recipe)
    attached.detach()
    attach(model, tiny_recipe)


def test_an_adapter_comes_off_once(model: PreTrainedModel, tiny_recipe: Recipe) -> None:
    first = attach(model, tiny_recipe)
    first.detach()
    attach(model, tiny_recipe)
    message = "^the adapter is not on this BertForSequenceClassification any more$"
    with pytest.raises(ModelError, match=message):
        first.merge()
    with pytest.raises(ModelError, match=message):
        first.detach()


def test_a_copy_of_a_model_trains_an_adapter_of_its_own(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    fill(attach(model, tiny_recipe))
    expected = logits(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.get_submodule("allocator").parameters():
            parameter.zero_()
    assert (logits(other) - expected).abs().max() > 0.01
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=0)


def test_parameter_groups_follow_the_base_learning_rate_and_lambda(
    model: PreTrainedModel, tiny_recipe: Recipe
) -> None:
    attached = attach(model, tiny_recipe)
    groups = attached.parameter_groups(tiny_recipe, learning_rate=1e-4)
    core, *factors, head = groups
    assert core["params"] == [attached.adapter.zero_part]
    assert core["lr"] == pytest.approx(1e-4 * tiny_recipe.training.core_lr_multiplier)
    assert {group["lr"] for group in factors} == {1e-4}
    assert head["lr"] == tiny_recipe.training.head_learning_rate
    grouped = {id(p) for group in groups for p in group["params"]}
    assert grouped == {id(p) for p in model.parameters() if p.requires_grad}


def test_a_saved_adapter_comes_back_with_its_head(
    model: PreTrainedModel, tiny_recipe: Recipe, tiny_bert: Path, tmp_path: Path
) -> None:
    fill(attach(model, tiny_recipe)).save(tmp_path / "adapter.safetensors")
    other = load(tiny_bert)
    attach_saved(other, tmp_path / "adapter.safetensors")
    torch.testing.assert_close(logits(other), logits(model), rtol=0, atol=0)
    saved = load_adapter(tmp_path / "adapter.safetensors")
    assert saved.description.model_sha256 == tiny_recipe.model.sha256


def test_an_adapter_of_other_weights_is_refused(
    model: PreTrainedModel, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.safetensors"
    attach(model, tiny_recipe).save(path)
    with torch.no_grad():
        model.get_input_embeddings().get_parameter("weight").add_(1)
    model.save_pretrained(tmp_path / "other")
    other = load(tmp_path / "other")
    message = f"{path} was trained on weights with sha256 {tiny_recipe.model.sha256}, got a model"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        attach_saved(other, path)


def test_an_adapter_of_a_model_of_other_shapes_is_refused(
    model: PreTrainedModel, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.safetensors"
    attach(model, tiny_recipe).save(path)
    config = copy.deepcopy(model.config)
    config.num_hidden_layers, config._name_or_path = 1, ""
    with pytest.raises(CheckpointError, match=r"layers=2.* got a model of .*layers=1"):
        attach_saved(type(model)(config), path)


def test_a_head_for_other_classes_is_refused(
    model: PreTrainedModel, tiny_recipe: Recipe, tiny_bert: Path, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.safetensors"
    attach(model, tiny_recipe).save(path)
    message = f"tensor classifier.bias of {path} must have shape (3,), got (2,)"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        attach_saved(load(tiny_bert, num_labels=3), path)


def change_head(path: Path, change: dict[str, Tensor | None]) -> None:
    """Add tensors to a saved head, or take them out, in the file and in what it says of itself."""
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["allocator"])
    tensors = load_file(path)
    for name, value in change.items():
        tensors.pop(f"head.{name}", None)
        description["head"].pop(name, None)
        if value is not None:
            tensors[f"head.{name}"] = value
            description["head"][name] = list(value.shape)
    save_file(tensors, path, metadata={"allocator": json.dumps(description)})


@pytest.fixture
def saved(model: PreTrainedModel, tiny_recipe: Recipe, tmp_path: Path) -> Path:
    """File of a trained adapter with its head and pooler."""
    path = tmp_path / "adapter.safetensors"
    fill(attach(model, tiny_recipe)).save(path)
    return path


@pytest.mark.parametrize(
    "lacking",
    [
        ("classifier.weight",),
        ("classifier.bias", "classifier.weight"),
        ("bert.pooler.dense.bias",),  # half of a pooler
    ],
)
def test_a_file_without_all_of_the_head_is_refused(
    lacking: tuple[str, ...], saved: Path, tiny_bert: Path
) -> None:
    change_head(saved, dict.fromkeys(lacking))
    message = f"{saved} lacks tensor {lacking[0]}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        attach_saved(load(tiny_bert), saved)


POOLER = ("bert.pooler.dense.bias", "bert.pooler.dense.weight")


def test_a_pooler_that_did_not_train_is_the_models_own(
    tiny_recipe: Recipe, tiny_bert: Path, tmp_path: Path
) -> None:
    training = tiny_recipe.training.model_copy(update={"trains_pooler": False})
    recipe = tiny_recipe.model_copy(update={"training": training})
    saved = tmp_path / "adapter.safetensors"
    fill(attach(load(tiny_bert), recipe)).save(saved)
    model = load(tiny_bert)
    before = {name: model.get_parameter(name).clone() for name in POOLER}
    attach_saved(model, saved)
    for name, value in before.items():
        torch.testing.assert_close(model.get_parameter(name), value, rtol=0, atol=0)


def test_a_pooler_that_the_checkpoint_lacked_must_be_in_the_file(
    saved: Path, tiny_bert: Path
) -> None:
    change_head(saved, dict.fromkeys(POOLER))
    with pytest.raises(CheckpointError, match=f"lacks tensor {re.escape(POOLER[0])}$"):
        attach_saved(load(tiny_bert), saved, fresh=POOLER)


@pytest.mark.parametrize(
    "name", ["bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.bias"]
)
def test_a_head_that_names_a_weight_of_the_backbone_is_refused(
    name: str, saved: Path, tiny_bert: Path
) -> None:
    model = load(tiny_bert)
    before = state(model)
    change_head(saved, {name: torch.zeros_like(model.get_parameter(name))})
    message = f"{saved} has an unexpected tensor {name}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        attach_saved(model, saved)
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)


def test_an_adapter_of_a_bare_backbone_has_no_head(
    tiny_bert: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.safetensors"
    attach(AutoModel.from_pretrained(tiny_bert), tiny_recipe).save(path)
    attach_saved(AutoModel.from_pretrained(tiny_bert), path)
    with pytest.raises(CheckpointError, match=r"lacks tensor bert\.pooler\.dense\.bias$"):
        attach_saved(load(tiny_bert), path)
