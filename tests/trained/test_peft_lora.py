"""LoRAs of the smallest exact rank for every site, and what PEFT makes of them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.config import AdapterConfig
from allocator.models.attached import Attached
from allocator.models.projections import find_backbone_shape
from allocator.trained.peft_lora import export_peft, factorize_lora

IDS = torch.randint(4, 100, (3, 7), generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.filterwarnings(
    # PEFT asks a model for what transformers has renamed.
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


def product(ranks: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A chain of random matrices: 6 to the ranks to 5, as A of the first and B of the rest."""
    draw = torch.Generator().manual_seed(0)
    sizes = (6, *ranks, 5)
    first, *rest = (
        torch.randn(rows, columns, generator=draw, dtype=torch.float64)
        for rows, columns in pairwise(sizes)
    )
    return first, torch.linalg.multi_dot(rest) if len(rest) > 1 else rest[0]


@pytest.mark.parametrize(
    ("ranks", "smallest"), [((3,), 3), ((4, 2), 2), ((9,), 5), ((7, 1), 1), ((5,), 5)]
)
def test_the_smallest_exact_rank_is_that_of_the_product(
    ranks: tuple[int, ...], smallest: int
) -> None:
    a, b = product(ranks)
    lora = factorize_lora(a, b)
    assert lora.rank == smallest == torch.linalg.matrix_rank(a @ b)
    torch.testing.assert_close(lora.b_Or @ lora.a_rI, (a @ b).T.float())


def test_an_update_of_zero_has_rank_one() -> None:
    a, b = product((3,))
    lora = factorize_lora(a, torch.zeros_like(b))
    assert lora.rank == 1
    assert not (lora.b_Or @ lora.a_rI).any()


def lora_adapter(folder: Path, targets: tuple[str, ...], seed: int = 1) -> Attached:
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert isinstance(model, PreTrainedModel)
    model.eval()
    shape = AdapterShape(
        construction="matrix", factorization="matrix", backbone=find_backbone_shape(model, targets)
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    attached = Attached(model, build_adapter(spec, {"rank": 3}, seed=0), spec)
    torch.nn.init.normal_(attached.adapter.zero_part, generator=torch.Generator().manual_seed(seed))
    return attached


def reload(attached: Attached, base: Path, folder: Path) -> tuple[Tensor, Tensor]:
    """Export, load with PEFT onto the base model anew, and return the logits of both models."""
    export_peft(attached, folder, base_model=str(base))
    plain = AutoModelForSequenceClassification.from_pretrained(base)
    lora = PeftModel.from_pretrained(plain, str(folder)).eval()
    with torch.no_grad():
        return lora(input_ids=IDS).logits, attached.model(input_ids=IDS).logits


def test_sites_of_other_ranks_have_patterns_that_keep_the_scaling_at_one(
    tiny_bert: Path, tmp_path: Path
) -> None:
    attached = lora_adapter(tiny_bert, ("query", "key", "value"))
    with torch.no_grad():
        attached.adapter.zero_part[0, 0] = 0  # layer 0, query
        attached.adapter.zero_part[1, 2, 1:] = 0  # layer 1, value
        attached.adapter.zero_part[1, 1, 2:] = 0  # layer 1, key
    logits, expected = reload(attached, tiny_bert, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    layer = "bert.encoder.layer.{}.attention.self.{}"
    others = {
        layer.format(0, "query"): 1,
        layer.format(1, "value"): 1,
        layer.format(1, "key"): 2,
    }
    assert (config["r"], config["lora_alpha"]) == (3, 3)
    assert config["rank_pattern"] == config["alpha_pattern"] == others
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("targets", [("query", "value"), ("key",)])
def test_targets_are_named_by_their_last_parts(
    targets: tuple[str, ...], tiny_bert: Path, tmp_path: Path
) -> None:
    logits, expected = reload(lora_adapter(tiny_bert, targets), tiny_bert, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert sorted(config["target_modules"]) == sorted(targets)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_a_batch_may_mix_several_exports(
    kind: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    folder, expected = tiny_models[kind], []
    for seed, name in enumerate(("one", "two")):
        attached = lora_adapter(folder, ("query", "value"), seed=seed)
        export_peft(attached, tmp_path / name, base_model=str(folder))
        with torch.no_grad():
            expected.append(attached.model(input_ids=IDS).logits)
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    lora = PeftModel.from_pretrained(plain, str(tmp_path / "one"), adapter_name="one")
    lora.load_adapter(str(tmp_path / "two"), adapter_name="two")
    with torch.no_grad():
        logits = lora.eval()(input_ids=IDS, adapter_names=["one", "two", "one"]).logits
    one, two = expected
    assert (one - two).abs().max() > 1e-2
    torch.testing.assert_close(logits, torch.stack([one[0], two[1], one[2]]), rtol=0, atol=1e-5)


def test_what_trains_of_the_head_is_saved_each_module_once(tiny_bert: Path, tmp_path: Path) -> None:
    attached = lora_adapter(tiny_bert, ("query",))
    export_peft(attached, tmp_path, base_model="somebody/bert")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["bert.pooler.dense", "classifier"]
    assert config["base_model_name_or_path"] == "somebody/bert"
    saved = load_file(tmp_path / "adapter_model.safetensors")
    head = {f"base_model.model.{name}" for name in attached.head_state_dict()}
    assert head == {name for name in saved if "lora_" not in name}
