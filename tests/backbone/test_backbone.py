import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, RobertaConfig

from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import BackboneShape
from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import AdapterConfig, Precision
from allocator.errors import ModelError
from allocator.inputs.tokens import TokenizedSplit
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import ModelSource, locate_model
from allocator.models.preprocessors import load_tokenizer

TARGETS = ("query", "key", "value")
CPU = torch.device("cpu")
KINDS = ["bert", "roberta", "mpnet", "xlm-roberta", "electra", "distilbert"]


def source_of(folder: Path) -> ModelSource:
    return locate_model(str(folder), folder / "no-cache")


def load(folder: Path, precision: Precision = "float32", num_labels: int = 3) -> Backbone:
    return load_backbone(
        source_of(folder), TARGETS, num_labels=num_labels, precision=precision, device=CPU
    )


def some_ids(tokens: int) -> Tensor:
    return torch.randint(4, 100, (2, tokens), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_gives_the_hidden_states_that_its_head_reads(
    kind: str, tiny_models: dict[str, Path]
) -> None:
    backbone = load(tiny_models[kind])
    hidden = backbone({"input_ids": some_ids(7)})
    assert hidden.shape == (2, 1, 32)
    assert backbone.head(hidden, {}).shape == (2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_computes_what_transformers_does(
    kind: str, tiny_models: dict[str, Path]
) -> None:
    reference = AutoModel.from_pretrained(tiny_models[kind], attn_implementation="eager").eval()
    inputs = {"input_ids": some_ids(7), "attention_mask": torch.ones(2, 7, dtype=torch.int64)}
    inputs["attention_mask"][1, 4:] = 0
    expected = reference(**inputs).last_hidden_state
    states = load(tiny_models[kind])(inputs)
    torch.testing.assert_close(states, expected[:, :1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_slot_gets_the_same_inputs(kind: str, tiny_models: dict[str, Path]) -> None:
    backbone = load(tiny_models[kind])
    inputs = {"input_ids": some_ids(7), "attention_mask": torch.ones(2, 7, dtype=torch.int64)}
    inputs["attention_mask"][1, 4:] = 0
    alone = backbone(inputs)
    torch.testing.assert_close(backbone(inputs, blocks=(0, 0, 0)), alone.repeat(3, 1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_attaches_to_a_backbone(kind: str, tiny_models: dict[str, Path]) -> None:
    backbone = load(tiny_models[kind])
    shape = AdapterShape(
        construction="att_qkv_depth", factorization="tucker", backbone=backbone.sites.shape
    )
    assert shape.backbone == BackboneShape(d_in=32, heads=4, head_size=8, layers=2)
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    adapter = build_adapter(spec, dict.fromkeys(shape.rank_names, 2), seed=0)
    inputs = {"input_ids": some_ids(7)}
    before = backbone(inputs)
    torch.nn.init.normal_(adapter.zero_part)
    backbone.sites.set_updates([adapter.compute_pairs()])
    after = backbone(inputs)
    assert (after - before).abs().max() > 0.1
    after.pow(3).sum().backward()
    assert all(p.grad is not None for p in adapter.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_backbone_trains(kind: str, tiny_models: dict[str, Path]) -> None:
    backbone = load(tiny_models[kind])
    assert not any(p.requires_grad for p in backbone.model.parameters())
    dropouts = [m for m in backbone.model.modules() if isinstance(m, nn.Dropout)]
    assert dropouts
    assert not any(dropout.training for dropout in dropouts)
    hidden = backbone({"input_ids": some_ids(5)})
    assert not hidden.requires_grad
    torch.testing.assert_close(hidden, backbone({"input_ids": some_ids(5)}), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_in_a_batch_changes_no_logits(kind: str, tiny_models: dict[str, Path]) -> None:
    backbone = load(tiny_models[kind])
    split = TokenizedSplit(
        input_ids=[[0, 50, 51, 2], [0, 60, 61, 62, 63, 64, 65, 66, 67, 2]],
        token_type_ids=None,
        labels=torch.tensor([0, 1]),
        pad=(1, 0),
    )
    together = backbone.head(
        backbone(split.make_batch([0, 1], CPU).inputs), split.make_batch([0, 1], CPU).inputs
    )
    for i in (0, 1):
        alone = backbone.head(
            backbone(split.make_batch([i], CPU).inputs), split.make_batch([i], CPU).inputs
        )
        torch.testing.assert_close(together[[i]], alone)


def test_frozen_weights_may_be_bfloat16_while_the_head_stays_float32(tiny_bert: Path) -> None:
    backbone = load(tiny_bert, "bfloat16")
    assert {p.dtype for p in backbone.model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in backbone.head.parameters()} == {torch.float32}
    hidden = backbone({"input_ids": some_ids(5)})
    assert hidden.dtype == torch.bfloat16
    assert backbone.head(hidden, {}).dtype == torch.float32
    exact = load(tiny_bert)({"input_ids": some_ids(5)})
    assert (hidden.float() - exact).abs().mean() < 0.05


def test_the_known_count_on_roberta_base_is_read_without_its_weights(tmp_path: Path) -> None:
    RobertaConfig().save_pretrained(tmp_path)
    source = ModelSource(name="roberta-base", folder=tmp_path, sha256="")
    backbone = read_backbone_shape(source, TARGETS)
    assert backbone == BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
    shape = AdapterShape(construction="att_qkv_depth", factorization="tucker", backbone=backbone)
    assert shape.num_parameters(dict.fromkeys(shape.rank_names, 8)) == 39_640


def test_the_numbers_read_from_the_configuration_are_those_of_the_loaded_model(
    tiny_models: dict[str, Path],
) -> None:
    for folder in tiny_models.values():
        assert read_backbone_shape(source_of(folder), TARGETS) == load(folder).sites.shape


def test_targets_that_a_model_lacks_are_refused_before_its_weights_are_read(
    tiny_bert: Path,
) -> None:
    with pytest.raises(ModelError, match="projections gate not found in every layer of Bert"):
        read_backbone_shape(source_of(tiny_bert), ("query", "gate"))


@pytest.mark.parametrize("content", [b"", b"damaged", None], ids=["empty", "garbage", "truncated"])
def test_damaged_weights_are_refused(
    content: bytes | None, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "damaged"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100] if content is None else content)
    message = rf"^model '{re.escape(str(folder))}' cannot be loaded: \S.*$"
    with pytest.raises(ModelError, match=message):
        load(folder)


def test_weights_of_other_sizes_than_the_configuration_says_are_refused(
    tiny_bert: Path, tmp_path: Path
) -> None:
    folder = reconfigured(tiny_bert, tmp_path, intermediate_size=48)
    with pytest.raises(
        ModelError,
        match=r"lacks 6 weights of its backbone, .*; its config.json belongs to other weights$",
    ):
        load(folder)


def test_a_backbone_is_never_completed_with_random_weights(tiny_bert: Path, tmp_path: Path) -> None:
    folder = reconfigured(tiny_bert, tmp_path, num_hidden_layers=3)
    message = (
        f"model '{folder}' lacks 16 weights of its backbone, "
        "encoder.layer.2.attention.output.LayerNorm.bias the first; "
        "its config.json belongs to other weights"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        load(folder)


def reconfigured(folder: Path, tmp_path: Path, **changes: int) -> Path:
    copy = Path(shutil.copytree(folder, tmp_path / "reconfigured"))
    content = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(content | changes))
    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_a_tokenizer_is_refused(
    kind: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_models[kind] / name, tmp_path / name)
    message = (
        f"model '{tmp_path}' has no tokenizer: {tmp_path} holds none of "
        "tokenizer.json, vocab.*, *.model"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        load_tokenizer(source_of(tmp_path))


def test_a_tokenizer_that_cannot_be_read_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "damaged"))
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"has no usable tokenizer: \S.*$"):
        load_tokenizer(source_of(folder))


def test_a_tokenizer_is_read_from_the_models_folder(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(source_of(tiny_bert))
    first, *_, last = tokenizer("The dog barked.")["input_ids"]
    assert (first, last) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
