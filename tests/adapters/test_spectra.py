import math
from itertools import product

import numpy as np
import pytest
import torch

from allocator.adapters import Adapter, AdapterSpec, build_adapter
from allocator.adapters.spectra import effective_rank, mode_spectra
from allocator.allocation import AdapterShape, BackboneShape, Construction, Factorization
from allocator.config import AdapterConfig

BACKBONE = BackboneShape(d_in=6, heads=2, head_size=3, layers=2, targets=("query", "value"))


def build(
    construction: Construction, factorization: Factorization, ranks: dict[str, int]
) -> Adapter:
    shape = AdapterShape(construction=construction, factorization=factorization, backbone=BACKBONE)
    adapter = build_adapter(AdapterSpec(shape=shape, config=AdapterConfig()), ranks, seed=0)
    with torch.no_grad():
        adapter.zero_part.normal_(generator=torch.Generator().manual_seed(1))
    return adapter


@pytest.mark.parametrize("n", [1, 2, 7])
def test_equal_singular_values_all_count(n: int) -> None:
    assert effective_rank(torch.full((n,), 0.3)) == pytest.approx(n)


def test_zeros_do_not_count() -> None:
    assert effective_rank(torch.tensor([2.0, 2.0, 0.0, 0.0])) == pytest.approx(2)


def test_one_singular_value_is_rank_one_and_so_is_nothing_at_all() -> None:
    assert effective_rank(torch.tensor([5.0, 0.0])) == pytest.approx(1)
    assert effective_rank(torch.zeros(4)) == 1.0


def test_the_entropy_is_that_of_energies() -> None:
    # Energies 9 : 1, so shares 0.9 and 0.1.
    expected = 0.9**-0.9 * 0.1**-0.1
    assert effective_rank(torch.tensor([3.0, 1.0])) == pytest.approx(expected)


def test_the_scale_of_singular_values_does_not_count() -> None:
    values = torch.tensor([3.0, 2.0, 0.5])
    assert effective_rank(1e-12 * values) == pytest.approx(effective_rank(values), rel=1e-5)


def test_spectra_are_numpys_singular_values_of_every_unfolding() -> None:
    adapter = build("att_depth", "tucker", {"input": 3, "head_dim": 2, "heads": 2, "depth": 2})
    table = mode_spectra(adapter)
    cores = adapter.zero_part.detach().double().numpy()
    modes = ["input", "head_dim", "heads", "depth"]
    for target, (axis, mode) in product(range(2), enumerate(modes)):
        rows = table[(table["target"] == target) & (table["mode"] == mode)]
        assert set(rows["layer"]) == {0}
        core = cores[0, target]
        unfolding = np.moveaxis(core, axis, 0).reshape(core.shape[axis], -1)
        expected = np.linalg.svd(unfolding, compute_uv=False)
        np.testing.assert_allclose(rows["singular_value"], expected)
        assert rows["index"].tolist() == list(range(len(expected)))
        shares = expected**2 / np.sum(expected**2)
        entropy = -np.sum(shares * np.log(shares))
        np.testing.assert_allclose(rows["effective_rank"], math.exp(entropy))


def test_spectra_have_a_row_for_each_tensor_mode_and_singular_value() -> None:
    table = mode_spectra(build("qkv", "tucker", {"input": 3, "output": 4, "qkv": 2}))
    counts = table.groupby(["layer", "target", "mode"]).size().to_dict()
    assert counts == {
        (layer, 0, mode): n
        for layer in range(2)
        for mode, n in (("input", 3), ("output", 4), ("qkv", 2))
    }


def test_adapters_without_a_core_have_an_empty_table_of_the_same_columns() -> None:
    full = mode_spectra(build("qkv", "tucker", {"input": 1, "output": 1, "qkv": 1}))
    empty = mode_spectra(build("matrix", "matrix", {"rank": 2}))
    assert empty.empty
    assert empty.columns.tolist() == full.columns.tolist()
