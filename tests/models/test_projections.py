import re

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    DeiTConfig,
    Dinov2Config,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    MPNetConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    ViTConfig,
    XLMRobertaConfig,
)

from allocator.allocation.constructions import BackboneShape
from allocator.errors import ModelError
from allocator.models.projections import find_backbone_shape, find_projections

TARGETS = ("query", "key", "value")
ALL_TARGETS = (*TARGETS, "output")
SMALL: dict[str, int] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 32,
}
CONFIGS: list[PretrainedConfig] = [
    BertConfig.from_dict(SMALL),
    RobertaConfig.from_dict(SMALL),
    XLMRobertaConfig.from_dict(SMALL),
    MPNetConfig.from_dict(SMALL),
    ElectraConfig.from_dict(SMALL | {"embedding_size": 16}),
    DistilBertConfig(dim=24, n_layers=2, n_heads=3, hidden_dim=32),
    ViTConfig.from_dict(SMALL),
    DeiTConfig.from_dict(SMALL),
    Dinov2Config.from_dict(SMALL),
]
GROUPED = LlamaConfig.from_dict(SMALL | {"num_attention_heads": 6, "num_key_value_heads": 2})


def model_of(config: PretrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert isinstance(model, PreTrainedModel)
    return model


@pytest.mark.parametrize("config", [*CONFIGS, GROUPED], ids=lambda config: config.model_type)
def test_the_projections_of_attention_are_found_in_every_layer_of_the_known_models(
    config: PretrainedConfig,
) -> None:
    found = find_projections(model_of(config), ALL_TARGETS)
    assert len(found) == 2
    for number, layer in enumerate(found):
        *inputs, output = [name for name, _ in layer]
        assert [name.rsplit(".", 1)[-1][0] for name in inputs] == ["q", "k", "v"]
        assert re.search(r"att.*(\.output\.dense|\.o|out_lin|\.o_proj)$", output)
        assert all(f".{number}." in f".{name}" for name in (*inputs, output))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_the_numbers_of_the_known_encoders_are_read_from_their_modules(
    config: PretrainedConfig,
) -> None:
    assert find_backbone_shape(model_of(config), ("query", "value")) == BackboneShape(
        d_in=24, heads=3, head_size=8, layers=2, targets=("query", "value")
    )


def test_projections_come_in_the_order_of_the_targets() -> None:
    layers = find_projections(model_of(BertConfig.from_dict(SMALL)), ("value", "query"))
    last_names = [[name.rsplit(".", 1)[-1] for name, _ in layer] for layer in layers]
    assert last_names == [["value", "query"]] * 2


def test_the_tenth_layer_comes_after_the_ninth() -> None:
    layers = find_projections(
        model_of(BertConfig.from_dict(SMALL | {"num_hidden_layers": 12})), TARGETS
    )
    numbers = [re.findall(r"\d+", layer[0][0]) for layer in layers]
    assert numbers == [[str(number)] for number in range(12)]


@pytest.mark.parametrize("target", ["lin1", "ffn.lin1"])
def test_a_target_may_be_the_end_of_a_linear_layers_name(target: str) -> None:
    layers = find_projections(model_of(CONFIGS[5]), (target,))
    assert [layer[0][0] for layer in layers] == [
        f"transformer.layer.{number}.ffn.lin1" for number in range(2)
    ]


def test_a_name_ends_where_its_parts_do() -> None:
    with pytest.raises(ModelError, match=r"projections fn\.lin1 not found"):
        find_projections(model_of(CONFIGS[5]), ("fn.lin1",))


def test_a_missing_target_is_refused_with_the_linear_layers_that_there_are() -> None:
    message = (
        "projections gate, up not found in every layer of DistilBertModel; its linear layers are "
        "transformer.layer.*.attention.k_lin, transformer.layer.*.attention.out_lin, "
        "transformer.layer.*.attention.q_lin, transformer.layer.*.attention.v_lin, "
        "transformer.layer.*.ffn.lin1, transformer.layer.*.ffn.lin2; "
        "choose among the endings of their names with --targets"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_projections(model_of(CONFIGS[5]), ("query", "gate", "up"))


def test_a_target_that_some_layer_lacks_is_refused() -> None:
    layers = nn.ModuleList(nn.ModuleDict({"query": nn.Linear(4, 4)}) for _ in range(3))
    model = nn.ModuleDict({"layer": layers})
    assert len(find_projections(model, ("query",))) == 3
    first = layers[0]
    assert isinstance(first, nn.ModuleDict)
    first["key"] = nn.Linear(4, 4)
    with pytest.raises(ModelError, match="projections key not found in every layer"):
        find_projections(model, ("query", "key"))


def test_more_targets_than_linear_layers_are_refused_at_once() -> None:
    targets = [f"target_{number}" for number in range(1_000_000)]
    message = (
        "targets must name different linear layers of DistilBertModel, which has 12, "
        "got 1,000,000 targets"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_projections(model_of(CONFIGS[5]), targets)


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="its linear layers are none;"):
        find_projections(nn.ModuleDict({"layer": nn.ModuleList([nn.ReLU()])}), ("query",))


def test_a_target_that_names_two_linear_layers_of_one_layer_is_refused() -> None:
    message = (
        "target dense must name one linear layer in each layer of BertModel, got "
        "encoder.layer.0.attention.output.dense and encoder.layer.0.intermediate.dense; "
        "give a longer ending of its name with --targets"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_projections(model_of(BertConfig.from_dict(SMALL)), ("query", "dense"))


def test_targets_that_name_one_linear_layer_are_refused() -> None:
    message = (
        "targets must name different linear layers, got query and q_lin for "
        "transformer.layer.0.attention.q_lin; drop one from --targets"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_projections(model_of(CONFIGS[5]), ("query", "key", "q_lin"))


def test_projections_of_different_inputs_are_refused_with_targets_that_would_do() -> None:
    message = (
        "adapted projections must have inputs of one width, got 24 (query, lin1), 32 (lin2); "
        "adapt those of one width alone: --targets query,lin1 or --targets lin2"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_backbone_shape(model_of(CONFIGS[5]), ("query", "lin1", "lin2"))


def test_a_target_of_another_shape_in_some_layer_is_refused() -> None:
    model = model_of(GROUPED)
    model.get_submodule("layers.1.self_attn").k_proj = nn.Linear(24, 12)
    message = (
        "target key must have one shape in all layers, got 24 to 8, 24 to 12; "
        "choose others with --targets"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_backbone_shape(model, ("query", "key"))


def test_targets_may_have_different_numbers_of_heads() -> None:
    assert find_backbone_shape(model_of(GROUPED), TARGETS) == BackboneShape(
        d_in=24, heads=6, head_size=4, layers=2, target_heads=(6, 2, 2)
    )


def test_grouped_keys_and_values_have_as_many_heads_as_they_are_wide() -> None:
    model = model_of(GROUPED)
    assert find_backbone_shape(model, ("query",)) == BackboneShape(
        d_in=24, heads=6, head_size=4, layers=2, targets=("query",)
    )
    assert find_backbone_shape(model, ("key", "value")) == BackboneShape(
        d_in=24, heads=2, head_size=4, layers=2, targets=("key", "value")
    )


def test_the_size_of_heads_may_be_the_models_own() -> None:
    wide = LlamaConfig.from_dict(SMALL | {"head_dim": 16})
    assert find_backbone_shape(model_of(wide), TARGETS) == BackboneShape(
        d_in=24, heads=3, head_size=16, layers=2
    )


def test_a_projection_that_heads_cannot_share_is_refused() -> None:
    message = "must be a whole number of heads wide, got 20 for heads of 8; choose with --targets"
    model = model_of(DistilBertConfig(dim=24, n_layers=2, n_heads=3, hidden_dim=20))
    with pytest.raises(ModelError, match=message):
        find_backbone_shape(model, ("lin1",))
