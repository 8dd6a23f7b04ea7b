import math
from itertools import product

import numpy as np
import pytest
import torch

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.adapters.spectra import (
    compute_mode_spectra,
    compute_spectrum_metrics,
    tabulate_spectra,
    tabulate_spectrum_metrics,
)
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import BackboneShape, Construction
from allocator.allocation.factorizations import Factorization
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
    found = compute_spectrum_metrics(torch.full((n,), 0.3))
    assert found["entropy"] == pytest.approx(math.log(n))
    assert found["normalized_entropy"] == pytest.approx(1)
    assert found["effective_rank"] == pytest.approx(n)
    assert found["top1_energy"] == pytest.approx(1 / n)
    assert found["stable_rank"] == pytest.approx(n)


def test_zeros_do_not_count() -> None:
    found = compute_spectrum_metrics(torch.tensor([2.0, 2.0, 0.0, 0.0]))
    assert found["effective_rank"] == pytest.approx(2)
    assert found["normalized_entropy"] == pytest.approx(0.5)
    assert found["stable_rank"] == pytest.approx(2)


@pytest.mark.parametrize("values", [[5.0, 0.0], [0.0] * 4])
def test_one_singular_value_is_rank_one_and_so_is_nothing_at_all(values: list[float]) -> None:
    found = compute_spectrum_metrics(torch.tensor(values))
    assert found == {
        "entropy": 0.0,
        "normalized_entropy": 0.0,
        "effective_rank": 1.0,
        "top1_energy": 1.0,
        "stable_rank": 1.0,
    }


def test_metrics_are_those_of_energies_with_the_natural_logarithm() -> None:
    # Energies 9 : 1, so shares 0.9 and 0.1.
    found = compute_spectrum_metrics(torch.tensor([3.0, 1.0]))
    entropy = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert found["entropy"] == pytest.approx(entropy)
    assert found["normalized_entropy"] == pytest.approx(entropy / math.log(2))
    assert found["effective_rank"] == pytest.approx(math.exp(entropy))
    assert found["top1_energy"] == pytest.approx(0.9)
    assert found["stable_rank"] == pytest.approx(10 / 9)


def test_the_scale_of_singular_values_does_not_count() -> None:
    values = torch.tensor([3.0, 2.0, 0.5])
    assert compute_spectrum_metrics(1e-12 * values) == pytest.approx(
        compute_spectrum_metrics(values), rel=1e-5
    )


def test_a_core_of_known_spectra_has_their_metrics() -> None:
    """A diagonal core has the same singular values, its diagonal, in every mode."""
    adapter = build("qkv_depth", "tucker", {"input": 2, "output": 2, "qkv": 2, "depth": 2})
    with torch.no_grad():
        adapter.zero_part.zero_()
        adapter.zero_part[0, 0, 0, 0, 0, 0], adapter.zero_part[0, 0, 1, 1, 1, 1] = 3.0, 1.0
    table = tabulate_spectrum_metrics(compute_mode_spectra(adapter))
    assert table["mode"].tolist() == ["input", "output", "qkv", "depth"]
    assert table["rank"].tolist() == [2, 2, 2, 2]
    for name, value in compute_spectrum_metrics(torch.tensor([3.0, 1.0])).items():
        np.testing.assert_allclose(table[name], value)


def test_spectra_are_numpys_singular_values_of_every_unfolding() -> None:
    adapter = build("att_depth", "tucker", {"input": 3, "head_dim": 2, "heads": 2, "depth": 2})
    table = tabulate_spectra(compute_mode_spectra(adapter))
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


def test_spectra_have_a_row_for_each_tensor_mode_and_singular_value() -> None:
    table = tabulate_spectra(
        compute_mode_spectra(build("qkv", "tucker", {"input": 3, "output": 4, "qkv": 2}))
    )
    counts = table.groupby(["layer", "target", "mode"]).size().to_dict()
    assert counts == {
        (layer, 0, mode): n
        for layer in range(2)
        for mode, n in (("input", 3), ("output", 4), ("qkv", 2))
    }


def test_adapters_without_a_core_have_an_empty_table_of_the_same_columns() -> None:
    tucker = build("qkv", "tucker", {"input": 1, "output": 1, "qkv": 1})
    for tabulate in (tabulate_spectra, tabulate_spectrum_metrics):
        empty = tabulate(compute_mode_spectra(build("matrix", "matrix", {"rank": 2})))
        assert empty.empty
        assert empty.columns.tolist() == tabulate(compute_mode_spectra(tucker)).columns.tolist()
