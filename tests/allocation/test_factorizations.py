import sys
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorly as tl
from tensorly.random import random_cp, random_tt, random_tucker

from allocator.allocation import factorizations
from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import MODES, BackboneShape, Construction, Mode
from allocator.allocation.factorizations import FACTORIZATIONS, Factorization

ROBERTA = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
SMALL = BackboneShape(d_in=5, heads=2, head_size=3, layers=4)
TENSORS = [construction for construction in MODES if construction != "matrix"]
NONE: frozenset[Mode] = frozenset()


def shape(
    construction: Construction,
    factorization: Factorization,
    full: frozenset[Mode] = NONE,
    backbone: BackboneShape = SMALL,
) -> AdapterShape:
    return AdapterShape(
        construction=construction, factorization=factorization, backbone=backbone, full_modes=full
    )


def some_ranks(adapter: AdapterShape, n: int, highest: int = 9) -> list[dict[str, int]]:
    rng = np.random.default_rng(0)
    drawn = rng.integers(1, highest + 1, size=(n, len(adapter.rank_names)))
    return [dict(zip(adapter.rank_names, row.tolist(), strict=True)) for row in drawn]


def same_rank(adapter: AdapterShape, rank: int) -> dict[str, int]:
    return dict.fromkeys(adapter.rank_names, rank)


def test_the_known_counts_of_tucker_on_roberta_base() -> None:
    adapter = shape("att_qkv_depth", "tucker", backbone=ROBERTA)
    eight = same_rank(adapter, 8)
    assert adapter.num_parameters(eight) == 39_640
    assert adapter.num_parameters(eight | {"qkv": 3}) == 19_145


def test_the_known_count_of_cp_on_roberta_base() -> None:
    adapter = shape("att_qkv_depth", "cp", backbone=ROBERTA)
    assert adapter.num_parameters({"rank": 8}) == 6_872


def test_the_known_count_of_lora_on_roberta_base() -> None:
    adapter = shape("matrix", "matrix", backbone=ROBERTA)
    assert adapter.num_parameters({"rank": 8}) == 442_368


def test_the_known_count_of_lotr_on_query_and_value_of_roberta_base() -> None:
    two = BackboneShape(d_in=768, heads=12, head_size=64, layers=12, targets=("query", "value"))
    adapter = shape("sites", "tucker", frozenset({"site"}), two)
    assert adapter.num_parameters({"input": 32, "output": 32}) == 73_728


def test_lorta_costs_its_rank_times_the_sum_of_all_modes() -> None:
    adapter = shape("att_qkv_depth", "cp", backbone=ROBERTA)
    assert adapter.num_parameters({"rank": 5}) == 5 * (768 + 64 + 12 + 3 + 12)


@pytest.mark.parametrize("construction", TENSORS)
def test_tucker_counts_what_tensorly_makes(construction: Construction) -> None:
    adapter = shape(construction, "tucker")
    dims = tuple(adapter.tensor.dims.values())
    for ranks in some_ranks(adapter, 10):
        core, factors = random_tucker(dims, rank=list(ranks.values()), random_state=0)
        made = core.size + sum(factor.size for factor in factors)
        assert adapter.num_parameters(ranks) == adapter.tensor.copies * made


@pytest.mark.parametrize("construction", TENSORS)
def test_a_full_mode_has_no_factor_and_its_whole_length_in_the_core(
    construction: Construction,
) -> None:
    dims = shape(construction, "tucker").tensor.dims
    for full in dims:
        adapter = shape(construction, "tucker", frozenset({full}))
        for ranks in some_ranks(adapter, 5):
            all_ranks = [dims[mode] if mode == full else ranks[mode] for mode in dims]
            core, factors = random_tucker(tuple(dims.values()), rank=all_ranks, random_state=0)
            trained = [f for mode, f in zip(dims, factors, strict=True) if mode != full]
            made = core.size + sum(factor.size for factor in trained)
            assert adapter.num_parameters(ranks) == adapter.tensor.copies * made


@pytest.mark.parametrize("construction", TENSORS)
@pytest.mark.parametrize("rank", [1, 2, 7])
def test_cp_counts_what_tensorly_makes(construction: Construction, rank: int) -> None:
    adapter = shape(construction, "cp")
    _, factors = random_cp(tuple(adapter.tensor.dims.values()), rank=rank, random_state=0)
    made = sum(factor.size for factor in factors)
    assert adapter.num_parameters({"rank": rank}) == adapter.tensor.copies * made


@pytest.mark.parametrize("construction", TENSORS)
def test_tensor_train_counts_what_tensorly_makes(construction: Construction) -> None:
    adapter = shape(construction, "tt")
    dims = tuple(adapter.tensor.dims.values())
    for ranks in some_ranks(adapter, 10):
        train = random_tt(dims, rank=[1, *ranks.values(), 1], random_state=0)
        made = sum(core.size for core in train)
        assert adapter.num_parameters(ranks) == adapter.tensor.copies * made


@pytest.mark.parametrize("rank", [1, 4])
def test_lora_counts_a_pair_of_matrices_a_site(rank: int) -> None:
    pair = np.zeros((5, rank)).size + np.zeros((rank, 6)).size
    assert shape("matrix", "matrix").num_parameters({"rank": rank}) == 3 * 4 * pair


@pytest.mark.parametrize("construction", TENSORS)
def test_tucker_ranks_are_usable_when_a_random_tensor_has_them(construction: Construction) -> None:
    adapter = shape(construction, "tucker")
    dims = tuple(adapter.tensor.dims.values())
    for ranks in [*some_ranks(adapter, 20, highest=4), *some_ranks(adapter, 10, highest=7)]:
        tensor = random_tucker(dims, rank=list(ranks.values()), full=True, random_state=0)
        unfoldings = [tl.unfold(tensor, axis) for axis in range(len(dims))]
        reached = [int(np.linalg.matrix_rank(unfolding)) for unfolding in unfoldings]
        assert bool(adapter.is_usable(ranks)) == (reached == list(ranks.values()))


@pytest.mark.parametrize("full", ["input", "output", "site"])
def test_a_full_mode_limits_the_others_and_is_not_limited(full: Mode) -> None:
    adapter = shape("sites", "tucker", frozenset({full}))
    dims = adapter.tensor.dims
    for values in product(range(1, 8), repeat=2):
        ranks = dict(zip(adapter.rank_names, values, strict=True))
        all_ranks = {mode: dims[mode] if mode == full else ranks[mode] for mode in dims}
        tensor = random_tucker(
            tuple(dims.values()), rank=list(all_ranks.values()), full=True, random_state=0
        )
        reached = {
            mode: int(np.linalg.matrix_rank(tl.unfold(tensor, axis)))
            for axis, mode in enumerate(dims)
            if mode != full
        }
        assert bool(adapter.is_usable(ranks)) == (reached == ranks)


@pytest.mark.parametrize("construction", ["qkv", "att_qkv", "sites"])
def test_bonds_are_usable_when_a_random_tensor_train_has_them(construction: Construction) -> None:
    adapter = shape(construction, "tt")
    dims = tuple(adapter.tensor.dims.values())
    for ranks in [*some_ranks(adapter, 20, highest=5), *some_ranks(adapter, 20, highest=12)]:
        tensor = tl.tt_to_tensor(random_tt(dims, rank=[1, *ranks.values(), 1], random_state=0))
        reached = [
            int(np.linalg.matrix_rank(tensor.reshape(int(np.prod(dims[:split])), -1)))
            for split in range(1, len(dims))
        ]
        assert bool(adapter.is_usable(ranks)) == (reached == list(ranks.values()))


@pytest.mark.parametrize("construction", TENSORS)
def test_no_usable_bond_exceeds_its_bound_and_the_bounds_are_reached(
    construction: Construction,
) -> None:
    adapter = shape(construction, "tt")
    dims = list(adapter.tensor.dims.values())
    bounds = list(adapter.rank_bounds.values())
    tensor = np.random.default_rng(0).normal(size=dims)
    for split, bound in enumerate(bounds, start=1):
        unfolding = tensor.reshape(int(np.prod(dims[:split])), -1)
        assert np.linalg.matrix_rank(unfolding) == bound
    assert bool(adapter.is_usable(adapter.rank_bounds))


@pytest.mark.parametrize("construction", TENSORS)
def test_cp_ranks_are_usable_up_to_the_number_of_the_longest_fibres(
    construction: Construction,
) -> None:
    adapter = shape(construction, "cp")
    dims = list(adapter.tensor.dims.values())
    fibres = min(
        int(np.prod([dim for other, dim in enumerate(dims) if other != axis]))
        for axis in range(len(dims))
    )
    usable = [rank for rank in range(1, fibres + 5) if adapter.is_usable({"rank": rank})]
    assert usable == list(range(1, fibres + 1))
    assert adapter.rank_bounds == {"rank": fibres}


def test_a_lora_rank_is_usable_up_to_the_rank_of_a_random_matrix() -> None:
    adapter = shape("matrix", "matrix")
    highest = int(np.linalg.matrix_rank(np.random.default_rng(0).normal(size=(5, 6))))
    assert [r for r in range(1, 9) if adapter.is_usable({"rank": r})] == list(range(1, highest + 1))
    assert adapter.rank_bounds == {"rank": highest}


@pytest.mark.parametrize(
    ("construction", "factorization"),
    [
        *((construction, kind) for construction in TENSORS for kind in ("tucker", "cp", "tt")),
        ("matrix", "matrix"),
    ],
)
def test_arrays_of_ranks_count_as_each_choice_does(
    construction: Construction, factorization: Factorization
) -> None:
    adapter = shape(construction, factorization)
    choices = some_ranks(adapter, 50)
    arrays = {name: np.array([c[name] for c in choices]) for name in adapter.rank_names}
    assert adapter.count_parameters(arrays).tolist() == [adapter.num_parameters(c) for c in choices]
    assert adapter.is_usable(arrays).tolist() == [bool(adapter.is_usable(c)) for c in choices]


def test_arrays_of_ranks_broadcast_against_each_other() -> None:
    adapter = shape("qkv", "tucker")
    rows, columns = np.arange(1, 5)[:, None], np.arange(1, 4)[None, :]
    counts = adapter.count_parameters({"input": rows, "output": columns, "qkv": 2})
    assert counts.shape == (4, 3)
    assert counts[2, 1] == adapter.num_parameters({"input": 3, "output": 2, "qkv": 2})


def test_large_counts_do_not_overflow() -> None:
    wide = BackboneShape(d_in=100_000, heads=100, head_size=1_000, layers=100)
    adapter = shape("att_qkv_depth", "tucker", backbone=wide)
    ranks = same_rank(adapter, 1_000)
    exact = 1_000 * (100_000 + 1_000 + 100 + 3 + 100) + 1_000**5
    assert adapter.num_parameters(ranks) == exact
    assert adapter.count_parameters({name: np.array([1_000]) for name in ranks}).tolist() == [exact]


def test_integers_beyond_64_bits_are_counted_exactly() -> None:
    adapter = shape("att_qkv_depth", "tucker")
    huge = 10**30
    expected = huge * (5 + 3 + 2 + 3 + 4) + huge**5
    assert adapter.num_parameters(same_rank(adapter, huge)) == expected
    assert shape("att", "cp").num_parameters({"rank": huge}) == 12 * huge * (5 + 3 + 2)


def test_parts_of_arrays_broadcast_and_leave_full_modes_out() -> None:
    adapter = shape("sites", "tucker", frozenset({"site"}))
    rows, columns = np.arange(1, 4)[:, None], np.arange(1, 3)[None, :]
    parts = adapter.count_parts({"input": rows, "output": columns})
    assert list(parts) == ["input", "output", "core"]
    assert np.array_equal(parts["input"], 5 * rows)
    assert np.array_equal(parts["output"], 6 * columns)
    assert np.array_equal(parts["core"], rows * columns * 12)


def test_a_declared_factorization_without_an_entry_fails_at_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = str(factorizations.__file__)
    source = Path(path).read_text().replace('Literal["tucker",', 'Literal["vera", "tucker",')
    module = ModuleType("with_another_factorization")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(TypeError, match=r"^FACTORIZATIONS must have an entry for vera; add it$"):
        exec(compile(source, path, "exec"), module.__dict__)


def test_every_factorization_bounds_exactly_the_ranks_that_it_names() -> None:
    for kind, formulas in FACTORIZATIONS.items():
        tensor = shape("matrix" if kind == "matrix" else "att_qkv", kind).tensor
        assert tuple(formulas.bounds(tensor)) == formulas.rank_names(tensor)
