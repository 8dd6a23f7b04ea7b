"""Query, key and value as parts of one linear layer, where every architecture has them."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BloomConfig,
    DebertaConfig,
    FalconConfig,
    GPT2Config,
    GPTBigCodeConfig,
    GPTNeoXConfig,
    ModernBertConfig,
    MptConfig,
    OpenAIGPTConfig,
    PersimmonConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from allocator.adapters.adapter import place_columns
from allocator.allocation.constructions import BackboneShape
from allocator.allocation.fused_layers import FUSED_LAYERS
from allocator.errors import ModelError
from allocator.models.projections import Projection, find_backbone_shape, find_projections

TARGETS = ("query", "key", "value")
HEADS, HEAD_SIZE, WIDTH = 4, 8, 32
TOKENS = 5
_LONG = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
    "intermediate_size": 32,
    "vocab_size": 50,
    "pad_token_id": 0,
    "initializer_range": 0.4,
}
_SHORT = {
    "n_embd": WIDTH,
    "n_layer": 1,
    "n_head": HEADS,
    "vocab_size": 50,
    "initializer_range": 0.4,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "bloom": BloomConfig.from_dict(_LONG | {"n_layer": 1, "n_head": HEADS}),
    "deberta": DebertaConfig.from_dict(_LONG),
    "falcon, one key head": FalconConfig.from_dict(_LONG),
    "falcon, two key heads": FalconConfig.from_dict(
        _LONG | {"new_decoder_architecture": True, "num_kv_heads": 2}
    ),
    "falcon, four key heads": FalconConfig.from_dict(_LONG | {"multi_query": False}),
    "gpt2": GPT2Config.from_dict(_SHORT),
    "gpt_bigcode, one key head": GPTBigCodeConfig.from_dict(_SHORT),
    "gpt_bigcode, four key heads": GPTBigCodeConfig.from_dict(_SHORT | {"multi_query": False}),
    "gpt_neox": GPTNeoXConfig.from_dict(_LONG),
    "modernbert": ModernBertConfig.from_dict(_LONG),
    "mpt": MptConfig(d_model=WIDTH, n_heads=HEADS, n_layers=1, vocab_size=50),
    "openai-gpt": OpenAIGPTConfig.from_dict(_SHORT),
    "persimmon": PersimmonConfig.from_dict(_LONG),
    "phi3": Phi3Config.from_dict(_LONG | {"num_key_value_heads": 2}),
}


def make_model(config: PretrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation="eager")
    assert isinstance(model, PreTrainedModel)
    model.eval()
    return model


def list_heads(projection: Projection) -> Tensor:
    """Outputs of the layer that a projection has, shape (heads, head size)."""
    own = place_columns(torch.eye(projection.place.width), projection.place)
    assert own.sum(1).tolist() == [1] * projection.place.width
    return own.argmax(1).view(-1, HEAD_SIZE)


def record_attention(model: PreTrainedModel, fused: nn.Module) -> tuple[Tensor, Tensor]:
    """Record what a fused layer answers, and what the next linear layer reads: all heads' values.

    Both of shape (tokens, features).
    """
    outputs: list[Tensor] = []
    inputs: list[Tensor] = []

    def keep(module: nn.Module, read: tuple[Tensor], output: Tensor) -> None:
        if module is fused:
            outputs.append(output)
        elif outputs and not inputs:
            inputs.append(read[0])

    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D):
            module.register_forward_hook(keep)
    model(input_ids=torch.randint(1, 50, (1, TOKENS)))
    return outputs[0], inputs[0].view(TOKENS, -1)


def depends_on(output: Tensor, columns: Tensor, on: Tensor) -> Tensor:
    """Whether an answer depends on each output of the fused layer, shape (tokens, outputs)."""
    weights = torch.rand(len(columns), generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((output[columns] * weights).sum(), on, retain_graph=True)
    return gradient[0] != 0


@pytest.mark.parametrize("name", CONFIGS)
def test_parts_are_where_the_attention_reads_them(name: str) -> None:
    model = make_model(CONFIGS[name])
    ((*sites,),) = find_projections(model, TARGETS)
    layer = sites[0][1].layer
    query, key, value = (list_heads(projection) for _, projection in sites)
    assert (len(query), len(key)) == (HEADS, len(value))
    assert torch.cat([query, key, value]).unique().numel() == sites[0][1].weight.shape[0]

    def check(*, zero_queries: bool) -> None:
        fused, answers = record_attention(model, layer)
        for head in range(HEADS):
            own = torch.arange(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
            depends = depends_on(answers[-1], own, fused)
            shared = head * len(key) // HEADS
            # The last token's answer reads its own query alone, and keys and values of all tokens.
            # Where queries are zero, so are the scores and their derivatives by keys.
            read = [value[shared]] if zero_queries else [key[shared], value[shared]]
            assert depends[0].nonzero().flatten().tolist() == sorted(torch.cat(read).tolist())
            if not zero_queries:
                assert depends[-1][query[head]].all()

    check(zero_queries=False)
    with torch.no_grad():
        sites[0][1].weight[query.flatten()] = 0
        if layer.bias is not None:
            layer.bias[query.flatten()] = 0
    check(zero_queries=True)


def test_every_architecture_of_the_table_is_tried() -> None:
    assert {config.model_type for config in CONFIGS.values()} == set(FUSED_LAYERS)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "modernbert"])
def test_a_backbone_of_parts_has_the_shape_of_one_of_layers(name: str) -> None:
    shape = BackboneShape(d_in=WIDTH, heads=HEADS, head_size=HEAD_SIZE, layers=1)
    assert find_backbone_shape(make_model(CONFIGS[name]), TARGETS) == shape


def test_parts_may_have_different_numbers_of_heads() -> None:
    assert find_backbone_shape(make_model(CONFIGS["phi3"]), ("value", "query")) == BackboneShape(
        d_in=WIDTH,
        heads=4,
        head_size=HEAD_SIZE,
        layers=1,
        targets=("value", "query"),
        target_heads=(2, 4),
    )


@pytest.mark.parametrize(("name", "target"), [("modernbert", "Wqkv"), ("gpt2", "c_attn")])
def test_a_fused_layer_is_one_wide_projection_by_its_own_name(name: str, target: str) -> None:
    shape = find_backbone_shape(make_model(CONFIGS[name]), (target,))
    assert (shape.heads, shape.d_out, shape.target_heads) == (3 * HEADS, 3 * WIDTH, ())


@pytest.mark.parametrize("name", ["modernbert", "gpt_neox"])
def test_a_fused_layer_and_a_part_of_it_are_refused(name: str) -> None:
    whole = FUSED_LAYERS[name].name.rpartition(".")[2]
    message = f"targets must name different linear layers, got key and {whole} for "
    with pytest.raises(ModelError, match=f"^{re.escape(message)}.*; drop one from --targets$"):
        find_projections(make_model(CONFIGS[name]), ("key", whole))


def test_layers_of_a_width_that_no_heads_have_are_no_parts() -> None:
    model = make_model(CONFIGS["gpt2"])
    model.config.num_attention_heads = 5
    with pytest.raises(ModelError, match="projections query not found in every layer"):
        find_projections(model, ("query",))
