from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BertModel

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import MODES, BackboneShape, Construction
from allocator.backbone.packed_sites import adapt_projections
from allocator.config import AdapterConfig

HEADS, HEAD_SIZE = 4, 8
WITH_HEADS = [construction for construction in MODES if "heads" in MODES[construction]]


class Attention:
    """Runs the tiny BERT and keeps what its first attention gave: outputs and weights."""

    def __init__(self, model: BertModel) -> None:
        self._model = model
        self._seen: list[tuple[Tensor, Tensor]] = []
        attention = model.get_submodule("encoder.layer.0.attention.self")
        attention.register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: object, output: tuple[Tensor, Tensor]) -> None:
        self._seen.append(output)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Outputs (batch, tokens, heads * head_size) and weights (batch, heads, from, to)."""
        ids = torch.randint(4, 100, (2, 6), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            self._model(input_ids=ids)
        return self._seen[-1]


@pytest.fixture
def bert(tiny_bert: Path) -> BertModel:
    model = BertModel.from_pretrained(
        tiny_bert, dtype=torch.float64, attn_implementation="eager"
    ).eval()
    assert isinstance(model, BertModel)
    return model


def confined(construction: Construction, backbone: BackboneShape, mode: str, at: int) -> Adapter:
    """An adapter of random core whose factor of one mode lets one index through."""
    shape = AdapterShape(construction=construction, factorization="tucker", backbone=backbone)
    ranks = dict.fromkeys(shape.rank_names, 2) | {mode: 1}
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    adapter = build_adapter(spec, ranks, seed=0).double()
    with torch.no_grad():
        adapter.zero_part.normal_(generator=torch.Generator().manual_seed(1))
        adapter.factors[mode].zero_()
        adapter.factors[mode][..., at, :] = 1
    return adapter


@pytest.mark.parametrize("construction", WITH_HEADS)
@pytest.mark.parametrize("head", range(HEADS))
def test_an_update_confined_to_one_head_changes_that_heads_output_alone(
    construction: Construction, head: int, bert: BertModel
) -> None:
    attention = Attention(bert)
    sites = adapt_projections(bert, ("query", "key", "value"))
    plain_output, plain_weights = attention()
    sites.set_updates([confined(construction, sites.shape, "heads", head).compute_pairs()])
    output, weights = attention()
    changed_weights = (weights != plain_weights).any(dim=0).flatten(1).any(dim=1)
    assert changed_weights.tolist() == [other == head for other in range(HEADS)]
    changed = (output != plain_output).flatten(0, 1).all(dim=0)
    own = range(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
    assert changed.tolist() == [row in own for row in range(HEADS * HEAD_SIZE)]
    assert not (output != plain_output).flatten(0, 1).any(dim=0)[~changed].any()


@pytest.mark.parametrize("construction", WITH_HEADS)
def test_an_update_confined_to_one_index_of_head_dim_changes_it_in_every_head(
    construction: Construction, bert: BertModel
) -> None:
    attention = Attention(bert)
    sites = adapt_projections(bert, ("value",))
    plain_output, _ = attention()
    adapter = confined(construction, sites.shape, "head_dim", 5)
    sites.set_updates([adapter.compute_pairs()])
    changed = (attention()[0] != plain_output).flatten(0, 1).any(dim=0)
    assert changed.tolist() == [row % HEAD_SIZE == 5 for row in range(HEADS * HEAD_SIZE)]
