from pathlib import Path

import pytest
import tensorly as tl
import torch
from torch import Tensor
from transformers import BertModel

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import MODES, BackboneShape, Construction, Mode
from allocator.backbone.packed_sites import adapt_projections
from allocator.config import AdapterConfig
from allocator.errors import SpaceError
from allocator.models.projections import find_backbone_shape, find_projections

# Lengths differ wherever they can, so that no two axes can be taken for each other.
BACKBONE = BackboneShape(d_in=14, heads=2, head_size=5, layers=4)
TARGETS = ("query", "key", "value")
CONSTRUCTIONS = [construction for construction in MODES if construction != "matrix"]
NONE: frozenset[Mode] = frozenset()
WIDE_INPUT = {"input": 7, "output": 2, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 3, "site": 5}
WIDE_OUTPUT = {"input": 2, "output": 6, "head_dim": 4, "heads": 2, "qkv": 3, "depth": 2, "site": 3}
EIGHT = dict.fromkeys(WIDE_INPUT, 8)  # above most modes' lengths, as an explicit YAML may ask


def build(
    construction: Construction,
    ranks: dict[str, int],
    full: frozenset[Mode] = NONE,
    backbone: BackboneShape = BACKBONE,
    scaling: float = 4.0,
) -> Adapter:
    """A double-precision adapter whose core is random."""
    shape = AdapterShape(
        construction=construction, factorization="tucker", backbone=backbone, full_modes=full
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig(scaling=scaling))
    adapter = build_adapter(spec, {name: ranks[name] for name in shape.rank_names}, seed=1).double()
    with torch.no_grad():
        adapter.zero_part.normal_(generator=torch.Generator().manual_seed(2))
    return adapter


def tensorly_update(adapter: Adapter, layer: int, target: int) -> Tensor:
    """The update of one site, (d_in, d_out), cut out of the tensor that TensorLy reconstructs."""
    tensor, backbone = adapter.shape.tensor, adapter.shape.backbone
    copy = (
        layer if tensor.layer_copies > 1 else 0,
        target if tensor.target_copies > 1 else 0,
    )
    factors = [
        adapter.factors[mode][copy].detach()
        if mode in adapter.factors
        else torch.eye(dim, dtype=torch.float64)
        for mode, dim in tensor.dims.items()
    ]
    with tl.backend_context("pytorch"):
        update = tl.tucker_to_tensor((adapter.zero_part[copy].detach(), factors))
    indices: dict[str, int] = {
        "qkv": target,
        "depth": layer,
        "site": layer * len(backbone.targets) + target,
    }
    for mode in reversed(list(tensor.dims)):
        if mode in indices:
            update = update[..., indices[mode]]
    if "heads" in tensor.dims:
        # transformers: output row head * head_size + k belongs to head `head`.
        update = torch.cat([update[:, :, head] for head in range(backbone.heads)], dim=1)
    assert update.shape == (backbone.d_in, backbone.d_out)
    return adapter.scaling * torch.as_tensor(update)


def assert_emits_what_tensorly_reconstructs(adapter: Adapter) -> None:
    pairs = adapter.compute_pairs()
    for layer in range(adapter.shape.backbone.layers):
        for target in range(len(adapter.shape.backbone.targets)):
            a, b = pairs.select_site(layer, target)
            torch.testing.assert_close(a @ b, tensorly_update(adapter, layer, target))


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
@pytest.mark.parametrize("ranks", [WIDE_INPUT, WIDE_OUTPUT, EIGHT], ids=["in", "out", "eight"])
def test_the_pairs_of_all_sites_multiply_to_what_tensorly_reconstructs(
    construction: Construction, ranks: dict[str, int]
) -> None:
    assert_emits_what_tensorly_reconstructs(build(construction, ranks))


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
@pytest.mark.parametrize("ranks", [WIDE_INPUT, WIDE_OUTPUT], ids=["in", "out"])
def test_a_full_mode_is_a_mode_with_an_identity_factor(
    construction: Construction, ranks: dict[str, int]
) -> None:
    modes = MODES[construction]
    for full in [*({mode} for mode in modes), set(modes)]:
        assert_emits_what_tensorly_reconstructs(build(construction, ranks, frozenset(full)))


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
@pytest.mark.parametrize("ranks", [WIDE_INPUT, WIDE_OUTPUT], ids=["in", "out"])
def test_the_bottleneck_is_the_smaller_of_the_input_and_the_output_side(
    construction: Construction, ranks: dict[str, int]
) -> None:
    a, _ = build(construction, ranks).compute_pairs().select_site(0, 0)
    heads = "heads" in MODES[construction]
    output_side = ranks["head_dim"] * ranks["heads"] if heads else ranks["output"]
    assert a.shape == (BACKBONE.d_in, min(ranks["input"], output_side))


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_the_sites_of_one_tensor_share_the_matrix_on_the_input_side(
    construction: Construction,
) -> None:
    adapter = build(construction, WIDE_OUTPUT)
    tensor = adapter.shape.tensor
    assert adapter.compute_pairs().a_LTIR.shape[:2] == (tensor.layer_copies, tensor.target_copies)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
@pytest.mark.parametrize("ranks", [WIDE_INPUT, WIDE_OUTPUT, EIGHT], ids=["in", "out", "eight"])
def test_as_many_parameters_are_built_as_are_counted(
    construction: Construction, ranks: dict[str, int]
) -> None:
    for full in [set(), *({mode} for mode in MODES[construction])]:
        adapter = build(construction, ranks, frozenset(full))
        assert adapter.num_parameters == adapter.shape.num_parameters(adapter.ranks)


def test_roberta_base_at_rank_eight_is_built_with_its_known_number_of_parameters() -> None:
    roberta = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
    assert build("att_qkv_depth", EIGHT, backbone=roberta).num_parameters == 39_640


def test_lotr_on_query_and_value_is_built_with_its_known_number_of_parameters() -> None:
    two = BackboneShape(d_in=768, heads=12, head_size=64, layers=12, targets=("query", "value"))
    adapter = build("sites", {"input": 32, "output": 32}, frozenset({"site"}), two)
    assert adapter.num_parameters == 73_728


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_a_fresh_adapter_updates_nothing(construction: Construction) -> None:
    shape = AdapterShape(construction=construction, factorization="tucker", backbone=BACKBONE)
    ranks = {name: WIDE_INPUT[name] for name in shape.rank_names}
    pairs = build_adapter(
        AdapterSpec(shape=shape, config=AdapterConfig()), ranks, seed=0
    ).compute_pairs()
    for layer in range(4):
        for target in range(3):
            a, b = pairs.select_site(layer, target)
            assert not (a @ b).any()


def test_the_scaling_multiplies_the_whole_update() -> None:
    once, thrice = (
        build("att_qkv", WIDE_INPUT, scaling=scaling).compute_pairs() for scaling in (1.0, 3.0)
    )
    (a, b), (a_thrice, b_thrice) = once.select_site(1, 2), thrice.select_site(1, 2)
    torch.testing.assert_close(a_thrice @ b_thrice, 3 * (a @ b))


def test_ranks_that_do_not_name_the_modes_are_refused() -> None:
    shape = AdapterShape(construction="qkv", factorization="tucker", backbone=BACKBONE)
    with pytest.raises(SpaceError, match="must be given for input, output, qkv, got rank"):
        build_adapter(AdapterSpec(shape=shape, config=AdapterConfig()), {"rank": 1}, seed=0)


@pytest.fixture
def bert(tiny_bert: Path) -> BertModel:
    model = BertModel.from_pretrained(
        tiny_bert, dtype=torch.float64, attn_implementation="eager"
    ).eval()
    assert isinstance(model, BertModel)
    return model.requires_grad_(False)


@pytest.fixture
def sentences() -> dict[str, Tensor]:
    """Three sentences, the last one padded."""
    ids = torch.randint(4, 100, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 9, dtype=torch.int64)
    ids[2, 5:], mask[2, 5:] = 1, 0
    return {"input_ids": ids, "attention_mask": mask}


def ranks_of(construction: Construction, backbone: BackboneShape) -> dict[str, int]:
    shape = AdapterShape(construction=construction, factorization="tucker", backbone=backbone)
    return {name: min(3, bound) for name, bound in shape.rank_bounds.items()}


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_an_adapted_bert_is_a_bert_whose_weights_had_tensorlys_update_added(
    construction: Construction, bert: BertModel, tiny_bert: Path, sentences: dict[str, Tensor]
) -> None:
    backbone = find_backbone_shape(bert, TARGETS)
    adapter = build(construction, ranks_of(construction, backbone), backbone=backbone, scaling=0.5)
    merged = BertModel.from_pretrained(
        tiny_bert, dtype=torch.float64, attn_implementation="eager"
    ).eval()
    plain = bert(**sentences).last_hidden_state
    for layer, projections in enumerate(find_projections(merged, TARGETS)):
        for target, (_, linear) in enumerate(projections):
            linear.weight.data += tensorly_update(adapter, layer, target).T
    expected = merged(**sentences).last_hidden_state.detach()
    assert (expected - plain).abs().max() > 0.1  # the update is no rounding error
    adapt_projections(bert, TARGETS).set_updates([adapter.compute_pairs()])
    torch.testing.assert_close(bert(**sentences).last_hidden_state, expected)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_after_two_steps_every_part_of_an_adapter_has_a_finite_gradient_that_is_not_zero(
    construction: Construction, bert: BertModel, sentences: dict[str, Tensor]
) -> None:
    sites = adapt_projections(bert, TARGETS)
    shape = AdapterShape(construction=construction, factorization="tucker", backbone=sites.shape)
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    adapter = build_adapter(spec, ranks_of(construction, sites.shape), seed=0).double()
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2)
    direction = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        optimizer.zero_grad()
        sites.set_updates([adapter.compute_pairs()])
        (bert(**sentences).last_hidden_state @ direction).pow(2).sum().backward()
        optimizer.step()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # Each column of each factor, and each slice of the core, takes part.
        assert parameter.grad.flatten(0, -2).any(dim=0).all(), name
