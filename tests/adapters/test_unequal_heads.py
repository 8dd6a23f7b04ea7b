"""Targets of different numbers of heads: each is adapted as if it were the only one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.adapters.saved import load_adapter, save_adapter
from allocator.adapters.spectra import compute_mode_spectra
from allocator.adapters.truncation import truncate_mode
from allocator.adapters.tucker import TuckerAdapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import BackboneShape, Construction
from allocator.allocation.factorizations import Factorization
from allocator.config import AdapterConfig
from allocator.files.adapter_section import describe_adapter

HEADS = (4, 2, 3)
BACKBONE = BackboneShape(d_in=11, heads=4, head_size=5, layers=2, target_heads=HEADS)
TENSORS: tuple[Factorization, ...] = ("tucker", "cp", "tt")
BY_TARGET: tuple[Construction, ...] = ("att", "depth", "att_depth")
KINDS: list[tuple[Construction, Factorization]] = [
    ("matrix", "matrix"),
    *itertools.product(BY_TARGET, TENSORS),
]


def build(construction: Construction, factorization: Factorization) -> Adapter:
    """An adapter with random values, whose bottleneck is on the output's side for `att`."""
    shape = AdapterShape(construction=construction, factorization=factorization, backbone=BACKBONE)
    ranks = {name: min(bound, 2) for name, bound in shape.rank_bounds.items()}
    if "input" in ranks and construction == "att":
        ranks["input"] = 6
    spec = AdapterSpec(shape=shape, config=AdapterConfig(scaling=0.5))
    adapter = build_adapter(spec, ranks, seed=0).double()
    with torch.no_grad():
        adapter.zero_part.normal_(generator=torch.Generator().manual_seed(1))
    return adapter


def take_target(adapter: Adapter, target: int) -> Adapter:
    """Build the adapter of one target alone, with the values that it has among the others."""
    backbone = BackboneShape(
        d_in=11,
        heads=HEADS[target],
        head_size=5,
        layers=2,
        targets=(BACKBONE.targets[target],),
    )
    shape = AdapterShape(
        construction=adapter.shape.construction,
        factorization=adapter.shape.factorization,
        backbone=backbone,
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig(scaling=0.5))
    alone = build_adapter(spec, adapter.ranks, seed=0).double()
    state = {}
    for name, value in adapter.state_dict().items():
        expected = alone.state_dict()[name].shape
        if value.shape[1] == len(HEADS):
            state[name] = value[:, [target]]
            continue
        # The targets' parts lie end to end along the one axis that is too long.
        (axis,) = (i for i, n in enumerate(expected) if value.shape[i] != n)
        lengths = [heads * expected[axis] // HEADS[target] for heads in HEADS]
        state[name] = value.split(lengths, axis)[target]
    alone.load_state_dict(state)
    return alone


@pytest.mark.parametrize(("construction", "factorization"), KINDS)
def test_every_target_is_adapted_as_if_it_were_the_only_one(
    construction: Construction, factorization: Factorization
) -> None:
    adapter = build(construction, factorization)
    pairs = adapter.compute_pairs()
    for target in range(3):
        alone = take_target(adapter, target).compute_pairs()
        for layer in range(2):
            a, b = pairs.select_site(layer, target)
            expected_a, expected_b = alone.select_site(layer, 0)
            assert (a @ b).shape == (11, 5 * HEADS[target])
            torch.testing.assert_close(a @ b, expected_a @ expected_b)
            assert (a @ b).any()


@pytest.mark.parametrize(("construction", "factorization"), KINDS)
def test_the_number_counted_is_the_number_built_and_that_of_all_targets_alone(
    construction: Construction, factorization: Factorization
) -> None:
    adapter = build(construction, factorization)
    alone = [take_target(adapter, target) for target in range(3)]
    counted = adapter.shape.num_parameters(adapter.ranks)
    assert counted == adapter.num_parameters == sum(one.num_parameters for one in alone)


@pytest.mark.parametrize(("construction", "factorization"), KINDS)
def test_joined_targets_lie_side_by_side(
    construction: Construction, factorization: Factorization
) -> None:
    pairs = build(construction, factorization).compute_pairs()
    x = torch.randn(7, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    a, b = pairs.join_targets([2, 0])
    for layer in range(2):
        alone = [x @ torch.matmul(*pairs.select_site(layer, target)) for target in (2, 0)]
        joined = x @ a[min(layer, len(a) - 1)] @ b[min(layer, len(b) - 1)]
        torch.testing.assert_close(joined, torch.cat(alone, dim=1))


@pytest.mark.parametrize(("construction", "factorization"), KINDS)
def test_a_saved_adapter_is_the_one_that_is_loaded(
    construction: Construction, factorization: Factorization, tmp_path: Path
) -> None:
    adapter = build(construction, factorization).float()
    spec = AdapterSpec(shape=adapter.shape, config=AdapterConfig(scaling=0.5))
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, adapter, {}, describe_adapter(spec, adapter.ranks, "", trains_pooler=True))
    loaded = load_adapter(path)
    assert loaded.description.spec == spec
    expected, found = adapter.compute_pairs(), loaded.adapter.compute_pairs()
    assert found.widths == expected.widths
    torch.testing.assert_close(found.b_LTRO, expected.b_LTRO, rtol=0, atol=0)


def test_initial_factors_are_orthogonal_target_by_target() -> None:
    adapter = build("att", "tucker")
    for heads, factor in zip(
        HEADS, adapter.factors["heads"].squeeze(1).split(list(HEADS), 1), strict=True
    ):
        assert factor.shape == (2, heads, 2)
        identity = torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
        torch.testing.assert_close(factor.transpose(1, 2) @ factor, identity)


def test_a_core_of_every_target_has_spectra_and_can_be_truncated() -> None:
    adapter = build("att", "tucker")
    assert isinstance(adapter, TuckerAdapter)
    assert len(compute_mode_spectra(adapter)) == 2 * 3 * 3  # layers, targets, modes
    cut = truncate_mode(adapter, "heads", 1)
    for target in range(3):
        expected = truncate_mode(_as_tucker(take_target(adapter, target)), "heads", 1)
        a, b = cut.compute_pairs().select_site(1, target)
        torch.testing.assert_close(a @ b, torch.matmul(*expected.compute_pairs().select_site(1, 0)))


def _as_tucker(adapter: Adapter) -> TuckerAdapter:
    assert isinstance(adapter, TuckerAdapter)
    return adapter
