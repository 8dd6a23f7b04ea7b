"""CP and tensor-train adapters against the tensors that TensorLy makes of the same parts."""

from itertools import product
from typing import get_args

import pytest
import tensorly as tl
import torch
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import MODES, BackboneShape, Construction, Mode
from allocator.allocation.factorizations import Factorization
from allocator.config import AdapterConfig, Initialization

# Lengths differ wherever they can, so that no two axes can be taken for each other.
BACKBONE = BackboneShape(d_in=14, heads=2, head_size=5, layers=4)
CONSTRUCTIONS = [construction for construction in MODES if construction != "matrix"]
FACTORIZATIONS: list[Factorization] = ["cp", "tt"]
BOTH = list(product(CONSTRUCTIONS, FACTORIZATIONS))
BONDS = {"rank": 3, "bond_1": 4, "bond_2": 3, "bond_3": 5, "bond_4": 2}


def fresh(
    construction: Construction,
    factorization: Factorization,
    initialization: Initialization = "orthogonal",
    backbone: BackboneShape = BACKBONE,
    zero_mode: Mode | None = None,
) -> Adapter:
    shape = AdapterShape(
        construction=construction,
        factorization=factorization,
        backbone=backbone,
        zero_mode=zero_mode,
    )
    spec = AdapterSpec(
        shape=shape, config=AdapterConfig(scaling=3.0, initialization=initialization)
    )
    return build_adapter(spec, {name: BONDS[name] for name in shape.rank_names}, seed=1).double()


def trained(construction: Construction, factorization: Factorization) -> Adapter:
    adapter = fresh(construction, factorization)
    with torch.no_grad():
        adapter.zero_part.normal_(generator=torch.Generator().manual_seed(2))
    return adapter


def tensorly_update(adapter: Adapter, layer: int, target: int) -> Tensor:
    """The update of one site, (d_in, d_out), cut out of the tensor that TensorLy reconstructs."""
    tensor, backbone = adapter.shape.tensor, adapter.shape.backbone
    copy = (layer if tensor.layer_copies > 1 else 0, target if tensor.target_copies > 1 else 0)
    by_mode = {**adapter.factors, str(adapter.shape.zero_mode): adapter.zero_part}
    parts = [by_mode[mode][copy].detach() for mode in tensor.dims]
    with tl.backend_context("pytorch"):
        if adapter.shape.factorization == "cp":
            update = tl.cp_to_tensor((None, parts))
        else:
            update = tl.tt_to_tensor(parts)
    site = {"qkv": target, "depth": layer, "site": layer * len(backbone.targets) + target}
    for mode in reversed(list(tensor.dims)):
        if mode in site:
            update = update[..., site[mode]]
    if "heads" in tensor.dims:
        # transformers: output row head * head_size + k belongs to head `head`.
        update = torch.cat([update[:, :, head] for head in range(backbone.heads)], dim=1)
    assert update.shape == (backbone.d_in, backbone.d_out)
    return adapter.scaling * torch.as_tensor(update)


@pytest.mark.parametrize(("construction", "factorization"), BOTH)
def test_the_pairs_of_all_sites_multiply_to_what_tensorly_reconstructs(
    construction: Construction, factorization: Factorization
) -> None:
    adapter = trained(construction, factorization)
    for layer, target in product(range(4), range(3)):
        a, b = adapter.compute_pairs().select_site(layer, target)
        torch.testing.assert_close(a @ b, tensorly_update(adapter, layer, target))
        assert (a @ b).abs().max() > 0.01


@pytest.mark.parametrize(("construction", "factorization"), BOTH)
def test_as_many_parameters_are_built_as_are_counted(
    construction: Construction, factorization: Factorization
) -> None:
    adapter = fresh(construction, factorization)
    assert adapter.num_parameters == adapter.shape.num_parameters(adapter.ranks)


@pytest.mark.parametrize(("construction", "factorization"), BOTH)
@pytest.mark.parametrize("initialization", get_args(Initialization))
def test_a_fresh_adapter_updates_nothing_and_no_other_part_of_it_is_zero(
    construction: Construction, factorization: Factorization, initialization: Initialization
) -> None:
    adapter = fresh(construction, factorization, initialization)
    assert not adapter.compute_pairs().b_LTRO.any()
    assert not adapter.zero_part.any()
    assert list(adapter.factors) == list(adapter.shape.factor_modes)
    assert all(part.abs().max() > 0 for part in adapter.factors.values())


@pytest.mark.parametrize("factorization", FACTORIZATIONS)
@pytest.mark.parametrize("zero_mode", MODES["att_qkv_depth"])
def test_any_mode_may_start_at_zero(zero_mode: Mode, factorization: Factorization) -> None:
    adapter = fresh("att_qkv_depth", factorization, zero_mode=zero_mode)
    assert zero_mode not in adapter.factors
    assert len(adapter.factors) == 4
    pairs = adapter.compute_pairs()
    assert not (pairs.a_LTIR @ pairs.b_LTRO).any()
    with torch.no_grad():
        adapter.zero_part.normal_(generator=torch.Generator().manual_seed(2))
    for layer, target in product(range(4), range(3)):
        a_IR, b_RO = adapter.compute_pairs().select_site(layer, target)
        torch.testing.assert_close(a_IR @ b_RO, tensorly_update(adapter, layer, target))


@pytest.mark.parametrize(("construction", "factorization"), BOTH)
def test_after_two_steps_every_part_has_a_finite_gradient_that_is_not_zero(
    construction: Construction, factorization: Factorization
) -> None:
    adapter = fresh(construction, factorization)
    goal = torch.randn(
        4, 3, 14, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        pairs = adapter.compute_pairs()
        (pairs.a_LTIR @ pairs.b_LTRO - goal).pow(2).sum().backward()
        optimizer.step()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.flatten(0, -2).any(dim=0).all(), name


@pytest.mark.parametrize(
    ("construction", "factorization", "ranks", "parameters"),
    [
        ("att_qkv_depth", "cp", {"rank": 8}, 6_872),
        # 768*8 + 8*64*8 + 8*12*8 + 8*3*8 + 8*12
        ("att_qkv_depth", "tt", dict.fromkeys(("bond_1", "bond_2", "bond_3", "bond_4"), 8), 11_296),
        ("att_sites", "cp", {"rank": 8}, 8 * (768 + 64 + 12 + 36)),
    ],
)
def test_roberta_base_is_built_with_its_known_number_of_parameters(
    construction: Construction,
    factorization: Factorization,
    ranks: dict[str, int],
    parameters: int,
) -> None:
    roberta = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
    shape = AdapterShape(construction=construction, factorization=factorization, backbone=roberta)
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    assert build_adapter(spec, ranks, seed=0).num_parameters == parameters
