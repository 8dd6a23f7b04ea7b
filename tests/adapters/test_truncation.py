"""Truncation of trained cores, against TensorLy's own decomposition of the whole update."""

import pytest
import tensorly as tl
import torch

from allocator.adapters.build import build_adapter
from allocator.adapters.truncation import list_truncations, truncate_mode
from allocator.adapters.tucker import TuckerAdapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import BackboneShape, Construction
from allocator.config import AdapterConfig

BACKBONE = BackboneShape(d_in=12, heads=3, head_size=4, layers=2, targets=("query", "value"))
RANKS = {"input": 4, "head_dim": 3, "heads": 3, "qkv": 2, "depth": 2, "output": 5}


def trained(construction: Construction, **ranks: int) -> TuckerAdapter:
    shape = AdapterShape(construction=construction, factorization="tucker", backbone=BACKBONE)
    wanted = {name: {**RANKS, **ranks}[name] for name in shape.rank_names}
    adapter = build_adapter(AdapterSpec(shape=shape, config=AdapterConfig()), wanted, seed=0)
    assert isinstance(adapter, TuckerAdapter)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # factors drift from orthogonality as they train
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return adapter


def tensors(adapter: TuckerAdapter) -> list[torch.Tensor]:
    """Reconstruct every tensor from core and factors."""
    found = []
    with tl.backend_context("pytorch"):
        for layer in range(adapter.core.shape[0]):
            for target in range(adapter.core.shape[1]):
                factors = [
                    adapter.get_factor(mode)[layer, target].double()
                    for mode in adapter.shape.tensor.dims
                ]
                core = adapter.core[layer, target].double()
                found.append(tl.tucker_to_tensor((core, factors)).detach())
    return found


@pytest.mark.parametrize("construction", ["att_qkv_depth", "att", "qkv_depth"])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_truncated_update_is_the_best_of_that_rank_in_one_mode(
    construction: Construction, rank: int
) -> None:
    adapter = trained(construction)
    for axis, mode in enumerate(adapter.shape.tensor.dims):
        cut = truncate_mode(adapter, mode, rank)
        for before, after in zip(tensors(adapter), tensors(cut), strict=True):
            with tl.backend_context("pytorch"):
                unfolded, kept = tl.unfold(before, axis), tl.unfold(after, axis)
            values = torch.linalg.svdvals(unfolded)
            # Eckart and Young: no matrix of this rank is nearer than the rest of the spectrum.
            nearest = values[rank:].square().sum().sqrt()
            assert torch.linalg.matrix_rank(kept, rtol=1e-5) == rank
            torch.testing.assert_close((unfolded - kept).norm(), nearest, rtol=1e-4, atol=1e-4)


def test_at_its_own_rank_an_update_stays_what_it_is() -> None:
    adapter = trained("att_qkv_depth", qkv=4)  # more columns than the mode has rows
    for mode in adapter.shape.tensor.dims:
        cut = truncate_mode(adapter, mode, adapter.ranks[mode])
        torch.testing.assert_close(tensors(cut)[0], tensors(adapter)[0], rtol=1e-4, atol=1e-4)


def test_every_mode_is_cut_to_ranks_up_to_its_own() -> None:
    cuts = list(list_truncations(trained("att_qkv_depth", input=9)))
    assert [rank for mode, rank in cuts if mode == "input"] == [1, 2, 3, 4, 6, 8, 9]
    assert [rank for mode, rank in cuts if mode == "heads"] == [1, 2, 3]
    assert list(dict.fromkeys(mode for mode, _ in cuts)) == list(RANKS)[:5]


def test_only_a_core_can_be_cut() -> None:
    shape = AdapterShape(construction="matrix", factorization="matrix", backbone=BACKBONE)
    lora = build_adapter(AdapterSpec(shape=shape, config=AdapterConfig()), {"rank": 4}, seed=0)
    assert list(list_truncations(lora)) == []
