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
    MPNetConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    ViTConfig,
    XLMRobertaConfig,
)

from allocator.adapters import backbone_shape
from allocator.adapters.projections import find_projections
from allocator.allocation import BackboneShape
from allocator.errors import ModelError

TARGETS = ("query", "key", "value")
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


def model_of(config: PretrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert isinstance(model, PreTrainedModel)
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_query_key_and_value_are_found_in_every_layer_of_the_known_encoders(
    config: PretrainedConfig,
) -> None:
    found = find_projections(model_of(config), TARGETS)
    assert len(found) == 2
    for number, layer in enumerate(found):
        names = [name for name, _ in layer]
        assert [name.rsplit(".", 1)[-1][0] for name in names] == ["q", "k", "v"]
        assert all(f".{number}." in f".{name}" for name in names)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_the_numbers_of_the_known_encoders_are_read_from_their_modules(
    config: PretrainedConfig,
) -> None:
    assert backbone_shape(model_of(config), ("query", "value")) == BackboneShape(
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


def test_a_target_may_be_the_last_name_of_a_linear_layer() -> None:
    layers = find_projections(model_of(CONFIGS[5]), ("lin1",))
    assert [layer[0][0] for layer in layers] == [
        f"transformer.layer.{number}.ffn.lin1" for number in range(2)
    ]


def test_a_missing_target_is_refused_with_the_linear_layers_that_there_are() -> None:
    message = (
        "projections gate, up not found in every layer of DistilBertModel; its linear layers are "
        "transformer.layer.*.attention.k_lin, transformer.layer.*.attention.out_lin, "
        "transformer.layer.*.attention.q_lin, transformer.layer.*.attention.v_lin, "
        "transformer.layer.*.ffn.lin1, transformer.layer.*.ffn.lin2; "
        "choose among their last names with --targets"
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


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="its linear layers are none;"):
        find_projections(nn.ModuleDict({"layer": nn.ModuleList([nn.ReLU()])}), ("query",))


def test_a_target_that_names_two_linear_layers_of_one_layer_is_refused() -> None:
    message = (
        "target dense must name one linear layer in each layer of BertModel, got "
        "encoder.layer.0.attention.output.dense and encoder.layer.0.intermediate.dense; "
        "choose another with --targets"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        find_projections(model_of(BertConfig.from_dict(SMALL)), ("query", "dense"))


def test_projections_of_different_shapes_are_refused() -> None:
    message = "adapted projections must have one shape, got 24 to 24, 24 to 32; choose with"
    with pytest.raises(ModelError, match=re.escape(message)):
        backbone_shape(model_of(CONFIGS[5]), ("query", "lin1"))


def test_a_projection_that_the_heads_cannot_share_is_refused() -> None:
    message = "must be as wide as its heads together, got 32 for 3 heads; choose with --targets"
    with pytest.raises(ModelError, match=message):
        backbone_shape(model_of(CONFIGS[5]), ("lin1",))
