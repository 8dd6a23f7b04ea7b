"""Slots on every kind of backbone, against transformers' own model with merged weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import Construction
from allocator.allocation.factorizations import Factorization
from allocator.backbone.backbone import Backbone, choose_attention, load_backbone
from allocator.backbone.frozen_linear import FrozenLinear
from allocator.config import AdapterConfig, TrainingConfig
from allocator.inputs.tokens import TokenBatch
from allocator.models.model_source import ModelSource
from allocator.models.projections import find_projections
from allocator.training.pack import TrainingPack
from allocator.training.training_slot import TrainingSlot

KINDS = ["bert", "roberta", "mpnet", "xlm-roberta", "electra", "distilbert"]
OWN_ATTENTION = ["mpnet"]  # its mask, made by transformers, looks whether anything is padded
INPUTS = ("query", "key", "value")
LOOKS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select)
CASES: list[tuple[str, tuple[str, ...]]] = [
    *((kind, targets) for kind in KINDS for targets in (INPUTS, (*INPUTS, "output"))),
    *(("llama", targets) for targets in (("query",), ("key", "value"), ("output", "query"))),
]


@pytest.fixture
def folders(tiny_models: dict[str, Path], tiny_llama: Path) -> dict[str, Path]:
    """Folders of models by their kinds, the decoder among them."""
    return tiny_models | {"llama": tiny_llama}


def classifier(folder: Path) -> PreTrainedModel:
    """A whole classification model as transformers computes it, its head random."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=3, attn_implementation="eager"
    )
    assert isinstance(model, PreTrainedModel)
    model.config.pad_token_id = 1
    model.requires_grad_(False).eval()
    return model


class NoLooks(TorchDispatchMode):
    """Fails where Python reads a value of a tensor, for which it would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        assert func.overloadpacket not in LOOKS, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


def load(folder: Path, targets: Sequence[str]) -> Backbone:
    return load_backbone(
        source_of(folder), targets, num_labels=3, precision="float32", device=torch.device("cpu")
    )


def source_of(folder: Path) -> ModelSource:
    return ModelSource(name="tiny", folder=folder, sha256="")


def sentences(*, padded: bool) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    inputs = {"input_ids": torch.randint(4, 100, (3, 7), generator=draw)}
    if padded:
        inputs["attention_mask"] = torch.ones(3, 7, dtype=torch.int64)
        inputs["attention_mask"][1, 4:] = 0
        inputs["input_ids"][1, 4:] = 1
    return inputs


def random_adapters(backbone: Backbone) -> list[Adapter]:
    """Two adapters of different constructions and ranks, neither of them zero."""
    kinds: list[tuple[Construction, Factorization, int]] = [
        ("att_qkv_depth", "tucker", 2),
        ("matrix", "matrix", 3),
    ]
    adapters = []
    for seed, (construction, factorization, rank) in enumerate(kinds):
        shape = AdapterShape(
            construction=construction, factorization=factorization, backbone=backbone.sites.shape
        )
        ranks = {name: min(rank, bound) for name, bound in shape.rank_bounds.items()}
        adapter = build_adapter(AdapterSpec(shape=shape, config=AdapterConfig()), ranks, seed=seed)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            adapter.zero_part.normal_(std=0.3, generator=draw)
        adapters.append(adapter)
    return adapters


def merged_logits(
    model: PreTrainedModel, pairs: Pairs, targets: Sequence[str], inputs: dict[str, Tensor]
) -> Tensor:
    weights = {}
    for layer, projections in enumerate(find_projections(model, targets)):
        for target, (name, linear) in enumerate(projections):
            a, b = pairs.select_site(layer, target)
            weights[f"{name}.weight"] = linear.weight + (a @ b).T
    logits = torch.func.functional_call(model, weights, args=(), kwargs=dict(inputs)).logits
    assert isinstance(logits, Tensor)
    return logits


def gradients(loss: Tensor, adapter: Adapter) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(adapter.parameters()), retain_graph=True))


@pytest.mark.parametrize("attention_of", ["cpu", "cuda"])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize(("kind", "targets"), CASES, ids=lambda part: "".join(part)[:20])
def test_slots_compute_what_transformers_does_with_their_updates_merged(
    kind: str,
    targets: tuple[str, ...],
    padded: bool,
    attention_of: str,
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    model, inputs = classifier(folders[kind]), sentences(padded=padded)
    model.save_pretrained(tmp_path)  # its random head with it
    AutoTokenizer.from_pretrained(folders[kind]).save_pretrained(tmp_path)
    backbone = load(tmp_path, targets)
    attention = choose_attention(source_of(tmp_path), torch.device(attention_of))
    backbone.model.set_attn_implementation(attention)
    adapters = random_adapters(backbone)
    backbone.sites.set_updates([adapter.compute_pairs() for adapter in adapters])
    states = backbone(inputs, blocks=(0, 0)).unflatten(0, (2, -1))
    plain = model(**inputs).logits
    for hidden, adapter in zip(states, adapters, strict=True):
        logits = backbone.head(hidden, inputs)
        expected = merged_logits(model, adapter.compute_pairs(), targets, inputs)
        assert (expected - plain).abs().max() > 1e-3
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        pairs = zip(
            gradients(logits.pow(3).sum(), adapter),
            gradients(expected.pow(3).sum(), adapter),
            strict=True,
        )
        for mine, theirs in pairs:  # small entries are sums of large ones: they round as those do
            largest = float(theirs.abs().max())
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5 * largest + 1e-6)


@pytest.mark.parametrize("blocks", [(0, 1), (1, 0), (1, 0, 1), (0, 1, 1, 0)])
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize(("kind", "targets"), CASES, ids=lambda part: "".join(part)[:20])
def test_slots_that_read_blocks_of_their_own_compute_what_each_does_alone(
    kind: str,
    targets: tuple[str, ...],
    padded: bool,
    blocks: tuple[int, ...],
    folders: dict[str, Path],
) -> None:
    backbone = load(folders[kind], targets)
    adapters = (random_adapters(backbone) * 2)[: len(blocks)]
    inputs = sentences(padded=padded)
    each = [inputs, {name: values.flip(0) for name, values in inputs.items()}]
    together = {name: torch.cat([block[name] for block in each]) for name in inputs}
    backbone.sites.set_updates([adapter.compute_pairs() for adapter in adapters])
    states = backbone(together, blocks=blocks).unflatten(0, (len(blocks), -1))
    for hidden, adapter, block in zip(states, adapters, blocks, strict=True):
        backbone.sites.set_updates([adapter.compute_pairs()])
        torch.testing.assert_close(hidden, backbone(each[block]), rtol=1e-4, atol=1e-5)
    assert (backbone(each[0]) - backbone(each[1])).abs().max() > 0.1


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OWN_ATTENTION])
def test_a_step_on_a_gpu_looks_at_no_value_and_so_never_waits(
    kind: str, padded: bool, folders: dict[str, Path]
) -> None:
    backbone = load(folders[kind], ("query",))
    attention = choose_attention(source_of(folders[kind]), torch.device("cuda"))
    backbone.model.set_attn_implementation(attention)
    shape = AdapterShape(
        construction="att_qkv_depth", factorization="tucker", backbone=backbone.sites.shape
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    allocation = Allocation(ranks=dict.fromkeys(shape.rank_names, 1), learning_rate=1e-3)
    config = TrainingConfig(epochs=1, dropout=0.1)
    pack = TrainingPack(backbone, width=2)
    pack.slots = [TrainingSlot(allocation, spec, backbone, config, 10, seed=0) for _ in range(2)]
    batch = TokenBatch(inputs=sentences(padded=padded), labels=torch.tensor([0, 2, 1]))
    with NoLooks():
        pack.step(batch)
    pack.slots[1].seed = 1
    joined = TokenBatch(
        inputs={name: values.repeat(2, 1) for name, values in batch.inputs.items()},
        labels=batch.labels.repeat(2),
    )
    with NoLooks():
        pack.step(joined, seeds=(0, 1))
    assert [slot.steps for slot in pack.slots] == [2, 2]
    with NoLooks(), pytest.raises(AssertionError, match="waits for the device"):
        pack.slots[0].compute_mean_loss()


@pytest.mark.parametrize("targets", [INPUTS, (*INPUTS, "output"), ("intermediate.dense",)])
def test_the_built_lora_has_as_many_parameters_as_its_count(
    targets: tuple[str, ...], tiny_bert: Path
) -> None:
    backbone = load(tiny_bert, targets)
    lora = random_adapters(backbone)[1]
    width = 64 if targets == ("intermediate.dense",) else 32
    assert lora.num_parameters == 2 * len(targets) * 3 * (32 + width)
    assert lora.num_parameters == lora.shape.num_parameters(lora.ranks)


def test_embeddings_are_copied_where_they_are_as_wide_as_the_layers(
    tiny_models: dict[str, Path],
) -> None:
    backbone = load(tiny_models["electra"], INPUTS)
    seen: list[int] = []
    backbone.model.get_submodule("embeddings").register_forward_hook(
        lambda _module, _inputs, output: seen.append(len(output))
    )
    backbone.sites.set_updates([adapter.compute_pairs() for adapter in random_adapters(backbone)])
    assert len(backbone(sentences(padded=False), blocks=(0, 0))) == 6
    assert seen == [3]


def watch_products(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the rows of every frozen product of the adapted projections."""
    (group,) = backbone.sites.groups
    adapted = [layer.linear for layer in group.layers]
    rows: list[int] = []
    multiply = FrozenLinear.multiply

    def watched(layer: FrozenLinear, x: Tensor) -> Tensor:
        if layer in adapted:
            rows.append(x.numel() // x.shape[-1])
        return multiply(layer, x)

    monkeypatch.setattr(FrozenLinear, "multiply", watched)
    return rows


def test_the_frozen_product_of_the_first_layer_is_computed_once_for_all_slots(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load(tiny_llama, ("key", "value"))
    rows = watch_products(backbone, monkeypatch)
    backbone.sites.set_updates([adapter.compute_pairs() for adapter in random_adapters(backbone)])
    backbone(sentences(padded=False), blocks=(0, 0))
    assert rows == [3 * 7, 2 * 3 * 7]


def test_the_frozen_product_of_the_first_layer_is_computed_once_for_each_block(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load(tiny_llama, ("key", "value"))
    rows = watch_products(backbone, monkeypatch)
    adapters = random_adapters(backbone) * 2
    backbone.sites.set_updates([adapter.compute_pairs() for adapter in adapters])
    two_blocks = {name: values.repeat(2, 1) for name, values in sentences(padded=False).items()}
    backbone(two_blocks, blocks=(0, 1, 1, 0))
    assert rows == [2 * 3 * 7, 4 * 3 * 7]
