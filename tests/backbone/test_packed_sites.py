import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
)

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.backbone.layer_projections import LayerProjections
from allocator.backbone.packed_sites import PackedSites, adapt_projections
from allocator.config import AdapterConfig

TARGETS = ("query", "key", "value")


@pytest.fixture
def bert(tiny_bert: Path) -> BertModel:
    model = BertModel.from_pretrained(tiny_bert, attn_implementation="eager").eval()
    assert isinstance(model, BertModel)
    return model.requires_grad_(False)


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(4, 100, (2, 6), generator=torch.Generator().manual_seed(0))


def random_adapter(sites: PackedSites, *, seed: int = 1) -> Adapter:
    shape = AdapterShape(construction="att_qkv", factorization="tucker", backbone=sites.shape)
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    adapter = build_adapter(spec, dict.fromkeys(shape.rank_names, 2), seed=seed)
    with torch.no_grad():
        adapter.zero_part.normal_(generator=torch.Generator().manual_seed(seed))
    return adapter


def hidden(model: PreTrainedModel, ids: Tensor) -> Tensor:
    states = model(input_ids=ids).last_hidden_state
    assert isinstance(states, Tensor)
    return states


def pairs_of(layers: int, targets: int, *, shared: bool) -> Pairs:
    draw = torch.Generator().manual_seed(0)
    return Pairs(
        a_LTIR=torch.randn(1 if shared else layers, 1 if shared else targets, 5, 2, generator=draw),
        b_LTRO=torch.randn(layers, targets, 2, 4, generator=draw),
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("targets", [[0], [0, 1, 2], [2, 0]])
def test_side_by_side_computes_the_updates_of_all_targets_at_once(
    shared: bool, targets: Sequence[int]
) -> None:
    pairs = pairs_of(2, 3, shared=shared)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    a, b = pairs.join_targets(targets)
    for layer in range(2):
        alone = [
            x @ pairs.select_site(layer, t)[0] @ pairs.select_site(layer, t)[1] for t in targets
        ]
        joined = x @ a[min(layer, len(a) - 1)] @ b[layer]
        torch.testing.assert_close(joined, torch.cat(alone, dim=1))


def test_side_by_side_holds_a_shared_matrix_once() -> None:
    a, b = pairs_of(2, 3, shared=True).join_targets([0, 1, 2])
    assert (a.shape, b.shape) == ((1, 5, 2), (2, 2, 12))
    a, b = pairs_of(2, 3, shared=False).join_targets([0, 1, 2])
    assert (a.shape, b.shape) == ((2, 5, 6), (2, 6, 12))


@pytest.mark.parametrize("targets", [TARGETS, ("query",), ("value", "query"), ("key", "value")])
def test_adapted_projections_without_updates_compute_what_the_model_did(
    targets: Sequence[str], bert: BertModel, ids: Tensor
) -> None:
    before = hidden(bert, ids)
    sites = adapt_projections(bert, targets)
    torch.testing.assert_close(hidden(bert, ids), before)
    assert sites.shape.targets == targets


def test_a_fresh_adapter_changes_no_hidden_state(bert: BertModel, ids: Tensor) -> None:
    sites = adapt_projections(bert, TARGETS)
    before = hidden(bert, ids)
    adapter = random_adapter(sites)
    torch.nn.init.zeros_(adapter.zero_part)
    sites.set_updates([adapter.compute_pairs()])
    torch.testing.assert_close(hidden(bert, ids), before, rtol=0, atol=0)


def test_using_no_updates_takes_them_off_again(bert: BertModel, ids: Tensor) -> None:
    sites = adapt_projections(bert, TARGETS)
    before = hidden(bert, ids)
    sites.set_updates([random_adapter(sites).compute_pairs()])
    assert (hidden(bert, ids) - before).abs().max() > 0.1
    sites.set_updates([])
    torch.testing.assert_close(hidden(bert, ids), before, rtol=0, atol=0)


def test_the_updates_in_use_are_the_last_ones_given(bert: BertModel, ids: Tensor) -> None:
    sites = adapt_projections(bert, TARGETS)
    first, second = random_adapter(sites, seed=1), random_adapter(sites, seed=2)
    sites.set_updates([first.compute_pairs()])
    expected = hidden(bert, ids)
    sites.set_updates([second.compute_pairs()])
    assert (hidden(bert, ids) - expected).abs().max() > 0.1
    sites.set_updates([first.compute_pairs()])
    torch.testing.assert_close(hidden(bert, ids), expected, rtol=0, atol=0)


def test_an_input_that_comes_again_is_projected_under_the_updates_then_in_use(
    bert: BertModel,
) -> None:
    sites = adapt_projections(bert, TARGETS)
    query = bert.get_submodule("encoder.layer.0.attention.self.query")
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    plain = query(x)
    sites.set_updates([random_adapter(sites).compute_pairs()])
    assert (query(x) - plain).abs().max() > 0.1


def test_projections_of_one_input_are_computed_once(bert: BertModel, ids: Tensor) -> None:
    sites = adapt_projections(bert, TARGETS)
    calls = []
    for group in sites.groups:
        for projections in group.layers:
            projections.register_forward_hook(lambda *_: calls.append(1))
    hidden(bert, ids)
    assert len(calls) == 2  # one a layer


def test_adapted_projections_take_the_models_weights_out_of_what_could_train(
    bert: BertModel,
) -> None:
    before = sum(p.numel() for p in bert.parameters())
    sites = adapt_projections(bert, TARGETS)
    assert before - sum(p.numel() for p in bert.parameters()) == 2 * 3 * (32 * 32 + 32)
    assert not [p for group in sites.groups for layer in group.layers for p in layer.parameters()]


def test_dropout_hides_inputs_from_the_update_alone() -> None:
    linear = nn.Linear(200, 3)
    layer = LayerProjections([linear])
    ones = torch.ones(500, 200)
    a, b = torch.eye(200), torch.ones(200, 3)
    layer.set_update(
        (a[None], b[None]), dropout=[0.25], generators=[torch.Generator().manual_seed(0)]
    )
    update = layer(ones) - linear(ones).detach()
    kept = update[:, 0] * 0.75  # inputs that were seen; those kept are scaled by 4/3
    torch.testing.assert_close(kept, kept.round(), rtol=0, atol=1e-3)
    assert kept.mean().item() == pytest.approx(150, abs=1)
    assert kept.std().item() == pytest.approx((200 * 0.75 * 0.25) ** 0.5, rel=0.15)


def test_dropout_ends_with_the_next_use(bert: BertModel, ids: Tensor) -> None:
    sites = adapt_projections(bert, TARGETS)
    pairs = random_adapter(sites).compute_pairs()
    sites.set_updates([pairs])
    expected = hidden(bert, ids)
    sites.set_updates([pairs], dropout=[0.5], generators=[torch.Generator()])
    assert (hidden(bert, ids) - expected).abs().max() > 0.01
    sites.set_updates([pairs])
    torch.testing.assert_close(hidden(bert, ids), expected, rtol=0, atol=0)


def test_a_slot_without_dropout_computes_beside_slots_with_it_what_it_computes_alone(
    bert: BertModel, ids: Tensor
) -> None:
    sites = adapt_projections(bert, TARGETS)
    pack = [random_adapter(sites, seed=seed).compute_pairs() for seed in (1, 2, 3)]
    dropout = [0.2, 0.0, 0.5]
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    unused = generators[1].get_state()
    sites.set_updates(pack, dropout=dropout, generators=generators)
    together = hidden(bert, ids.repeat(3, 1)).unflatten(0, (3, -1))
    assert torch.equal(generators[1].get_state(), unused)
    for seed, (states, pairs) in enumerate(zip(together, pack, strict=True)):
        generator = torch.Generator().manual_seed(seed)
        sites.set_updates([pairs], dropout=[dropout[seed]], generators=[generator])
        torch.testing.assert_close(states, hidden(bert, ids))
    sites.set_updates([pack[1]])
    torch.testing.assert_close(together[1], hidden(bert, ids))


def test_updates_take_the_precision_of_the_frozen_weights(bert: BertModel, ids: Tensor) -> None:
    half = copy.deepcopy(bert)
    nn.Module.to(half, torch.bfloat16)
    sites = adapt_projections(bert, TARGETS)
    adapter = random_adapter(sites)
    sites.set_updates([adapter.compute_pairs()])
    expected = hidden(bert, ids)
    adapt_projections(half, TARGETS).set_updates([adapter.compute_pairs()])
    half_states = hidden(half, ids)
    assert half_states.dtype == torch.bfloat16
    assert (half_states.float() - expected).abs().mean() < 0.05
    half_states.float().pow(3).sum().backward()
    assert adapter.zero_part.grad is not None
    assert adapter.zero_part.grad.dtype == torch.float32


def test_projections_without_bias_are_adapted() -> None:
    linears = [nn.Linear(6, 4, bias=False) for _ in range(3)]
    layer = LayerProjections(linears)
    x = torch.randn(2, 5, 6)
    for index, linear in enumerate(linears):
        torch.testing.assert_close(layer.project(x, index), linear(x))


def test_a_projection_without_a_bias_beside_one_with_has_none() -> None:
    projections = [nn.Linear(6, 4), nn.Linear(6, 3, bias=False)]
    layer = LayerProjections(projections)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    for index, projection in enumerate(projections):
        torch.testing.assert_close(layer.project(x, index), projection(x))


def test_a_target_outside_of_attentions_inputs_is_adapted_by_itself() -> None:
    config = DistilBertConfig(
        vocab_size=50, dim=12, n_layers=2, n_heads=3, hidden_dim=20, max_position_embeddings=16
    )
    config._attn_implementation = "eager"
    model = DistilBertModel(config).double().eval().requires_grad_(False)
    ids = torch.arange(10).view(2, 5)
    reference = copy.deepcopy(model)
    sites = adapt_projections(model, ("query", "out_lin"))
    shape = AdapterShape(construction="matrix", factorization="matrix", backbone=sites.shape)
    spec = AdapterSpec(shape=shape, config=AdapterConfig(scaling=1.0))
    adapter = build_adapter(spec, {"rank": 2}, seed=0).double()
    torch.nn.init.normal_(adapter.zero_part)
    pairs = adapter.compute_pairs()
    for layer in range(2):
        attention = f"transformer.layer.{layer}.attention"
        for target, name in enumerate(("q_lin", "out_lin")):
            a, b = pairs.select_site(layer, target)
            reference.get_submodule(f"{attention}.{name}").weight.data += (a @ b).T.detach()
    sites.set_updates([pairs])
    torch.testing.assert_close(
        model(input_ids=ids).last_hidden_state, reference(input_ids=ids).last_hidden_state
    )


def test_slots_of_any_ranks_and_kinds_get_their_own_updates(bert: BertModel, ids: Tensor) -> None:
    sites = adapt_projections(bert, TARGETS)
    shape = AdapterShape(construction="matrix", factorization="matrix", backbone=sites.shape)
    lora = build_adapter(AdapterSpec(shape=shape, config=AdapterConfig()), {"rank": 3}, seed=0)
    torch.nn.init.normal_(lora.zero_part, generator=torch.Generator().manual_seed(0))
    pack = [random_adapter(sites), lora, random_adapter(sites, seed=2)]
    alone = []
    for adapter in pack:
        sites.set_updates([adapter.compute_pairs()])
        alone.append(hidden(bert, ids))
    sites.set_updates([adapter.compute_pairs() for adapter in pack])
    together = hidden(bert, ids.repeat(3, 1))
    torch.testing.assert_close(together, torch.cat(alone))
    assert (alone[0] - alone[1]).abs().max() > 0.1


def test_a_layer_that_is_used_again_reads_what_every_slot_made_of_it(ids: Tensor) -> None:
    config = AlbertConfig(
        vocab_size=100,
        embedding_size=8,
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=16,
    )
    model = AlbertModel(config).double().eval().requires_grad_(False)
    sites = adapt_projections(model, TARGETS)
    pack = [random_adapter(sites, seed=seed).double() for seed in (1, 2)]
    alone = []
    for adapter in pack:
        sites.set_updates([adapter.compute_pairs()])
        alone.append(hidden(model, ids))
    sites.set_updates([adapter.compute_pairs() for adapter in pack])
    torch.testing.assert_close(hidden(model, ids.repeat(2, 1)), torch.cat(alone))
    assert (alone[0] - alone[1]).abs().max() > 0.1


def test_slots_of_one_width_get_gradients_of_their_own_loss_alone(
    bert: BertModel, ids: Tensor
) -> None:
    sites = adapt_projections(bert, TARGETS)
    pack = [random_adapter(sites), random_adapter(sites, seed=2)]
    sites.set_updates([adapter.compute_pairs() for adapter in pack])
    first, second = hidden(bert, ids.repeat(2, 1)).unflatten(0, (2, -1))
    (first.pow(3).sum() + second.pow(3).sum()).backward()
    packed = [[p.grad for p in adapter.parameters()] for adapter in pack]
    for adapter, gradients in zip(pack, packed, strict=True):
        adapter.zero_grad()
        sites.set_updates([adapter.compute_pairs()])
        hidden(bert, ids).pow(3).sum().backward()
        torch.testing.assert_close([p.grad for p in adapter.parameters()], gradients)
