from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    LlamaModel,
    PreTrainedModel,
)

from allocator.backbone.frozen_linear import FrozenLinear, freeze_linear_layers
from allocator.backbone.head import split_off_head
from allocator.backbone.unread_tokens import skip_unread_tokens


class FirstTokenHead(nn.Module):
    """Reads the first token."""

    def forward(self, hidden: Tensor, _: Mapping[str, Tensor]) -> Tensor:
        return hidden[:, 0, :2]


class MeanHead(nn.Module):
    """Reads all tokens."""

    def forward(self, hidden: Tensor, _: Mapping[str, Tensor]) -> Tensor:
        return hidden.mean(dim=1)[:, :2]


@pytest.fixture
def bert(tiny_bert: Path) -> BertForSequenceClassification:
    model = BertForSequenceClassification.from_pretrained(tiny_bert).eval()
    assert isinstance(model, BertForSequenceClassification)
    return model


def skip(backbone: PreTrainedModel, head: nn.Module, last_layer: str) -> bool:
    return skip_unread_tokens(
        backbone, last_layer, lambda inputs: backbone(**inputs).last_hidden_state, head
    )


def test_linear_layers_are_frozen_and_compute_what_they_did(
    bert: BertForSequenceClassification,
) -> None:
    ids = torch.arange(12).view(2, 6)
    before = bert(input_ids=ids).logits
    freeze_linear_layers(bert)
    assert not [m for m in bert.modules() if isinstance(m, nn.Linear)]
    assert len([m for m in bert.modules() if isinstance(m, FrozenLinear)]) == 2 * 6 + 2
    torch.testing.assert_close(bert(input_ids=ids).logits, before)


def test_the_last_layer_skips_tokens_that_the_head_does_not_read(
    bert: BertForSequenceClassification,
) -> None:
    ids = torch.arange(12).view(2, 6)
    before = bert(input_ids=ids).logits
    backbone, head = split_off_head(bert, frozenset())
    assert skip(backbone, head, "encoder.layer.1")
    hidden = backbone(input_ids=ids).last_hidden_state
    assert hidden.shape == (2, 1, 32)
    torch.testing.assert_close(head(hidden, {}), before)


def test_a_head_that_reads_all_tokens_gets_them(bert: BertForSequenceClassification) -> None:
    backbone, _ = split_off_head(bert, frozenset())
    assert not skip(backbone, MeanHead(), "encoder.layer.1")
    assert backbone(input_ids=torch.arange(12).view(2, 6)).last_hidden_state.shape == (2, 6, 32)


def test_a_layer_is_cut_behind_the_sum_of_attention_and_its_input() -> None:
    config = DistilBertConfig(
        vocab_size=50, dim=12, n_layers=2, n_heads=3, hidden_dim=20, max_position_embeddings=16
    )
    model = DistilBertForSequenceClassification(config).eval()
    ids = torch.arange(12).view(2, 6)
    before = model(input_ids=ids).logits
    backbone, head = split_off_head(model, frozenset())
    # Its attention gives no residual sum yet, so that the other tokens come back behind it.
    assert skip(backbone, head, "transformer.layer.1")
    hidden = backbone(input_ids=ids).last_hidden_state
    assert hidden.shape == (2, 1, 12)
    torch.testing.assert_close(head(hidden, {}), before)


def test_a_layer_that_cannot_be_cut_is_left_as_it_was(tiny_llama: Path) -> None:
    model = LlamaModel.from_pretrained(tiny_llama).eval()
    assert isinstance(model, LlamaModel)
    ids = torch.arange(12).view(2, 6)
    before = model(input_ids=ids).last_hidden_state
    # Behind both of its parts the residual sum brings the other tokens back.
    assert not skip(model, FirstTokenHead(), "layers.1")
    torch.testing.assert_close(model(input_ids=ids).last_hidden_state, before, rtol=0, atol=0)
