from pathlib import Path

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import BackboneShape
from allocator.backbone.packed_sites import adapt_projections
from allocator.config import AdapterConfig
from allocator.models.projections import find_backbone_shape, find_projections

TARGETS = ("query", "key", "value")
BACKBONE = BackboneShape(d_in=6, heads=2, head_size=4, layers=3)


def build(backbone: BackboneShape, rank: int, scaling: float = 4.0) -> Adapter:
    shape = AdapterShape(construction="matrix", factorization="matrix", backbone=backbone)
    spec = AdapterSpec(shape=shape, config=AdapterConfig(scaling=scaling))
    return build_adapter(spec, {"rank": rank}, seed=0).double()


def randomize(adapter: Adapter) -> Adapter:
    with torch.no_grad():
        adapter.zero_part.normal_(generator=torch.Generator().manual_seed(1))
    return adapter


@pytest.fixture
def sentences() -> dict[str, Tensor]:
    ids = torch.randint(4, 100, (3, 7), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def load(folder: Path) -> BertForSequenceClassification:
    torch.manual_seed(0)  # of the head, which the folder lacks
    model = BertForSequenceClassification.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager"
    )
    assert isinstance(model, BertForSequenceClassification)
    model.eval().requires_grad_(False)
    return model


@pytest.mark.parametrize("rank", [1, 3, 9])
def test_as_many_parameters_are_built_as_are_counted(rank: int) -> None:
    adapter = build(BACKBONE, rank)
    assert adapter.num_parameters == adapter.shape.num_parameters({"rank": rank})


def test_roberta_base_at_rank_eight_is_built_with_its_known_number_of_parameters() -> None:
    roberta = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
    assert build(roberta, 8).num_parameters == 442_368


def test_a_fresh_adapter_updates_nothing() -> None:
    pairs = build(BACKBONE, 2).compute_pairs()
    assert not (pairs.a_LTIR @ pairs.b_LTRO).any()


def test_every_site_has_a_pair_of_its_own() -> None:
    adapter = randomize(build(BACKBONE, 2, scaling=0.5))
    pairs = adapter.compute_pairs()
    for layer in range(3):
        for target in range(3):
            a, b = pairs.select_site(layer, target)
            torch.testing.assert_close(a, adapter.factors["input"][layer, target])
            torch.testing.assert_close(b, 0.5 * adapter.zero_part[layer, target])


def test_an_adapted_bert_is_a_bert_whose_weights_had_the_products_added(
    tiny_bert: Path, sentences: dict[str, Tensor]
) -> None:
    model, merged = load(tiny_bert), load(tiny_bert)
    adapter = randomize(build(find_backbone_shape(model, TARGETS), 3, scaling=0.5))
    a, b = adapter.factors["input"].detach(), adapter.zero_part.detach()
    for layer, projections in enumerate(find_projections(merged, TARGETS)):
        for target, (_, linear) in enumerate(projections):
            linear.weight.data += 0.5 * (a[layer, target] @ b[layer, target]).T
    adapt_projections(model, TARGETS).set_updates([adapter.compute_pairs()])
    torch.testing.assert_close(model(**sentences).logits, merged(**sentences).logits)


def weight(model: nn.Module, layer: int, target: str, part: str) -> nn.Parameter:
    """PEFT's A or B of one site, as it lies in its model."""
    site = f"bert.encoder.layer.{layer}.attention.self.{target}"
    return model.get_parameter(f"{site}.{part}.default.weight")


# PEFT asks transformers under a name that transformers has deprecated.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_logits_and_gradients_are_those_of_pefts_lora(
    tiny_bert: Path, sentences: dict[str, Tensor]
) -> None:
    rank, scaling = 4, 3
    ours, base = load(tiny_bert), load(tiny_bert)
    adapter = randomize(build(find_backbone_shape(ours, TARGETS), rank, scaling))
    config = peft.LoraConfig(r=rank, lora_alpha=scaling * rank, target_modules=list(TARGETS))
    theirs = peft.get_peft_model(base, config).double().eval()
    a, b = adapter.factors["input"], adapter.zero_part
    loras = {
        (layer, t): (weight(base, layer, target, "lora_A"), weight(base, layer, target, "lora_B"))
        for layer in range(2)
        for t, target in enumerate(TARGETS)
    }
    for site, (lora_a, lora_b) in loras.items():
        lora_a.data = a[site].detach().T.clone()
        lora_b.data = b[site].detach().T.clone()
    labels = torch.tensor([0, 1, 1])
    adapt_projections(ours, TARGETS).set_updates([adapter.compute_pairs()])
    our_output = ours(**sentences, labels=labels)
    their_output = theirs(**sentences, labels=labels)
    torch.testing.assert_close(our_output.logits, their_output.logits)
    our_output.loss.backward()
    their_output.loss.backward()
    assert a.grad is not None
    assert b.grad is not None
    for site, (lora_a, lora_b) in loras.items():
        torch.testing.assert_close(a.grad[site].T, lora_a.grad)
        torch.testing.assert_close(b.grad[site].T, lora_b.grad)
        assert b.grad[site].any()
