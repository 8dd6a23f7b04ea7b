"""Every construction and factorization on every kind of backbone, from count to merged weights."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import MODES, Construction
from allocator.allocation.factorizations import Factorization
from allocator.config import AdapterConfig
from allocator.models.attached import Attached
from allocator.models.projections import find_backbone_shape
from allocator.trained.peft_lora import export_peft

ENCODERS = ("bert", "roberta", "xlm-roberta", "mpnet", "electra", "distilbert")
TENSORS: tuple[Factorization, ...] = ("tucker", "cp", "tt")
KINDS: list[tuple[Construction, Factorization]] = [
    ("matrix", "matrix"),
    *itertools.product((c for c in MODES if c != "matrix"), TENSORS),
]
# On one backbone all kinds, on the others those that share most and least.
CASES = [
    *(("bert", *kind) for kind in KINDS),
    *(
        (backbone, *kind)
        for backbone in (*ENCODERS[1:], "llama")
        for kind in (("matrix", "matrix"), ("att_qkv_depth", "tucker"), ("sites", "tt"))
    ),
]
IDS = torch.randint(4, 100, (3, 7), generator=torch.Generator().manual_seed(0))
PAD = 1
LABELS = torch.tensor([0, 1, 1])

pytestmark = [
    # PEFT asks a model for what transformers has renamed.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.parametrize(("backbone", "construction", "factorization"), CASES),
]


def load(folder: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert isinstance(model, PreTrainedModel)
    model.eval()
    model.config.pad_token_id = PAD
    return model


@pytest.fixture
def folder(backbone: str, tiny_models: dict[str, Path], tiny_llama: Path) -> Path:
    return tiny_llama if backbone == "llama" else tiny_models[backbone]


@pytest.fixture
def attached(
    backbone: str, construction: Construction, factorization: Factorization, folder: Path
) -> Attached:
    """An adapter after two steps of training on three sentences."""
    model = load(folder)
    # The decoder has fewer heads for keys and values.
    targets = ("query", "output") if backbone == "llama" else ("query", "key", "value")
    shape = AdapterShape(
        construction=construction,
        factorization=factorization,
        backbone=find_backbone_shape(model, targets),
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    ranks = {name: min(3, bound) for name, bound in shape.rank_bounds.items()}
    attached = Attached(model, build_adapter(spec, ranks, seed=0), spec)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.3)
    for _ in range(2):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=LABELS).loss.backward()
        optimizer.step()
    return attached


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        found = model(input_ids=IDS).logits
    assert isinstance(found, Tensor)
    return found


def test_the_number_counted_is_the_number_built(attached: Attached) -> None:
    shape, ranks = attached.adapter.shape, attached.adapter.ranks
    assert shape.num_parameters(ranks) == attached.num_parameters


def test_every_part_has_a_finite_gradient_after_two_steps(attached: Attached) -> None:
    trained = [p for p in attached.model.parameters() if p.requires_grad]
    assert len(trained) > len(list(attached.adapter.parameters()))
    for parameter in trained:
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().max() > 0


def test_merged_weights_are_the_weights_plus_the_updates(attached: Attached, folder: Path) -> None:
    plain, expected = load(folder), logits(attached.model)
    assert (expected - logits(plain)).abs().max() > 1e-3
    pairs = attached.adapter.compute_pairs()
    attached.merge()
    merged = attached.model.state_dict()
    for layer, projections in enumerate(attached.projections):
        for target, (name, _) in enumerate(projections):
            a, b = pairs.select_site(layer, target)
            weight = plain.get_parameter(f"{name}.weight") + (a @ b).T
            torch.testing.assert_close(merged[f"{name}.weight"], weight.detach())
    torch.testing.assert_close(logits(attached.model), expected, rtol=0, atol=1e-5)


def test_peft_loads_the_export_with_the_same_logits(
    attached: Attached, folder: Path, tmp_path: Path
) -> None:
    expected = logits(attached.model)
    size = export_peft(attached, tmp_path, base_model=str(folder))
    torch.testing.assert_close(logits(attached.model), expected, rtol=0, atol=0)
    lora = PeftModel.from_pretrained(load(folder), str(tmp_path))
    torch.testing.assert_close(logits(lora), expected, rtol=0, atol=1e-5)
    assert size == sum(p.numel() for n, p in lora.named_parameters() if "lora_" in n)
