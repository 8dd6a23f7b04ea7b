"""Query, key and value together where they have different widths or are one linear layer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import Construction
from allocator.allocation.factorizations import Factorization
from allocator.backbone.packed_sites import adapt_projections
from allocator.config import AdapterConfig
from allocator.data.sources import TaskData
from allocator.models.attached import Attached, attach_saved
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import locate_model
from allocator.models.projections import find_backbone_shape
from allocator.trained.peft_lora import export_peft
from tests.backbone.exact_training import assert_exact, make_setup, train_two

TARGETS = ("query", "key", "value")
IDS = torch.randint(4, 100, (3, 7), generator=torch.Generator().manual_seed(0))
KINDS: list[tuple[str, Construction, Factorization, tuple[str, ...]]] = [
    ("llama", "matrix", "matrix", TARGETS),
    ("llama", "att", "tucker", TARGETS),
    ("llama", "depth", "tt", ("value", "query")),
    ("llama", "matrix", "matrix", ("value", "up_proj")),
    ("gpt2", "matrix", "matrix", ("key",)),
    ("gpt2", "att_qkv_depth", "tucker", TARGETS),
    ("gpt2", "att_sites", "cp", ("value", "query")),
    ("modernbert", "qkv_depth", "tt", TARGETS),
    ("phi3", "att", "cp", TARGETS),
    ("gpt_neox", "matrix", "matrix", ("value", "query")),
    ("gpt_neox", "att_qkv", "tucker", TARGETS),
]

pytestmark = [
    # PEFT asks a model for what transformers has renamed.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


@pytest.fixture
def folders(tiny_llama: Path, tiny_fused: dict[str, Path]) -> dict[str, Path]:
    return {"llama": tiny_llama, **tiny_fused}


@pytest.mark.parametrize("name", ["llama", "gpt2", "modernbert", "phi3"])
def test_two_trials_train_together_and_are_exact_attached_merged_and_loaded_by_peft(
    name: str, folders: dict[str, Path], small_task: TaskData, tmp_path: Path
) -> None:
    source = locate_model(str(folders[name]), tmp_path / "cache")
    setup = make_setup(source, read_backbone_shape(source, TARGETS), small_task)
    assert setup.path.packs
    for report in train_two(setup, tmp_path):
        assert_exact(setup, report, tmp_path)


def test_a_fused_layer_is_trained_as_a_whole_by_its_own_name(
    folders: dict[str, Path], small_task: TaskData, tmp_path: Path
) -> None:
    source = locate_model(str(folders["modernbert"]), tmp_path / "cache")
    setup = make_setup(source, read_backbone_shape(source, ("Wqkv",)), small_task)
    for report in train_two(setup, tmp_path):
        assert_exact(setup, report, tmp_path)


def load(folder: Path) -> PreTrainedModel:
    torch.manual_seed(0)  # of the head, which the folder lacks
    model = AutoModelForSequenceClassification.from_pretrained(folder, pad_token_id=1)
    assert isinstance(model, PreTrainedModel)
    model.eval()
    return model


def attach_random(
    model: PreTrainedModel,
    construction: Construction = "matrix",
    factorization: Factorization = "matrix",
    targets: tuple[str, ...] = TARGETS,
) -> Attached:
    """Attach an adapter that changes the model's answers."""
    shape = AdapterShape(
        construction=construction,
        factorization=factorization,
        backbone=find_backbone_shape(model, targets),
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    ranks = {name: min(3, bound) for name, bound in shape.rank_bounds.items()}
    attached = Attached(model, build_adapter(spec, ranks, seed=0), spec)
    torch.nn.init.normal_(attached.adapter.zero_part, generator=torch.Generator().manual_seed(1))
    return attached


@torch.no_grad()
def answer(model: torch.nn.Module) -> Tensor:
    logits = model(input_ids=IDS).logits
    assert isinstance(logits, Tensor)
    return logits


@pytest.mark.parametrize(("name", "construction", "factorization", "targets"), KINDS)
def test_every_kind_is_the_same_attached_saved_merged_and_exported(
    name: str,
    construction: Construction,
    factorization: Factorization,
    targets: tuple[str, ...],
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = folders[name]
    attached = attach_random(load(folder), construction, factorization, targets)
    expected = answer(attached.model)
    assert (expected - answer(load(folder))).abs().max() > 1e-2
    attached.save(tmp_path / "adapter.safetensors")
    saved = attach_saved(load(folder), tmp_path / "adapter.safetensors")
    torch.testing.assert_close(answer(saved.model), expected, rtol=0, atol=0)
    size = export_peft(attached, tmp_path / "peft", base_model=str(folder))
    lora = PeftModel.from_pretrained(load(folder), str(tmp_path / "peft")).eval()
    assert size == sum(p.numel() for n, p in lora.named_parameters() if "lora_" in n)
    torch.testing.assert_close(answer(lora), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(answer(lora.merge_and_unload()), expected, rtol=0, atol=1e-4)
    attached.merge()
    torch.testing.assert_close(answer(attached.model), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize(("name", "construction", "factorization", "targets"), KINDS)
def test_every_kind_is_the_same_in_a_pack_and_attached(
    name: str,
    construction: Construction,
    factorization: Factorization,
    targets: tuple[str, ...],
    joins: bool,
    folders: dict[str, Path],
) -> None:
    model = load(folders[name])
    attached = attach_random(model, construction, factorization, targets)
    backbone, pairs = model.base_model, attached.adapter.compute_pairs()
    assert isinstance(backbone, PreTrainedModel)
    with torch.no_grad():
        expected = backbone(input_ids=IDS).last_hidden_state
    attached.detach()
    adapt_projections(backbone, targets, joins=joins).set_updates([pairs])
    with torch.no_grad():
        states = backbone(input_ids=IDS).last_hidden_state
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-4)


def test_parts_are_exported_as_one_lora_of_the_layer(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    attached = attach_random(load(folders["gpt2"]))
    size = export_peft(attached, tmp_path, base_model="somebody/gpt2")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    # Three parts of rank 3 are a layer's LoRA of rank 9, of 32 inputs and 96 outputs.
    assert (config["r"], config["rank_pattern"]) == (9, {})
    assert (config["target_modules"], config["fan_in_fan_out"]) == (["c_attn"], True)
    assert size == 2 * 9 * (32 + 96)


def test_parts_that_share_an_input_side_are_a_lora_of_its_rank(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    attached = attach_random(load(folders["modernbert"]), "att_qkv", "tucker")
    export_peft(attached, tmp_path, base_model="somebody/modernbert")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["fan_in_fan_out"]) == (3, False)


def test_a_part_leaves_the_weights_of_the_others_as_they_are(folders: dict[str, Path]) -> None:
    name = "transformer.h.1.attn.c_attn.weight"
    attached = attach_random(load(folders["gpt2"]), targets=("key",))
    attached.merge()
    change = attached.model.get_parameter(name) - load(folders["gpt2"]).get_parameter(name)
    assert change.abs().amax(0).nonzero().flatten().tolist() == list(range(32, 64))


def test_qwen2_is_adapted_with_its_biases(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 16, "vocab_size": 100}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 1}
    torch.manual_seed(0)
    plain = Qwen2ForSequenceClassification(Qwen2Config.from_dict(sizes | heads))
    plain.save_pretrained(tmp_path / "model")
    attached = attach_random(load(tmp_path / "model"))
    # Inputs and outputs of query, key and value, of heads 4 wide.
    assert attached.num_parameters == 2 * 3 * ((16 + 16) + 2 * (16 + 4))
    expected = answer(attached.model)
    export_peft(attached, tmp_path / "peft", base_model=str(tmp_path / "model"))
    lora = PeftModel.from_pretrained(load(tmp_path / "model"), str(tmp_path / "peft"))
    torch.testing.assert_close(answer(lora), expected, rtol=0, atol=1e-4)
