import re
from typing import get_args

import numpy as np
import pytest

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import MODES, BackboneShape, Construction, Mode
from allocator.allocation.factorizations import Factorization
from allocator.allocation.feasible_set import FeasibleSet
from allocator.errors import BudgetError, SpaceError

BACKBONE = BackboneShape(d_in=20, heads=4, head_size=6, layers=5)
LOTR = AdapterShape(
    construction="sites",
    factorization="tucker",
    backbone=BACKBONE,
    full_modes=frozenset({"site"}),
)


def shape(construction: Construction, factorization: Factorization) -> AdapterShape:
    return AdapterShape(construction=construction, factorization=factorization, backbone=BACKBONE)


def test_tucker_has_a_rank_for_every_mode() -> None:
    adapter = shape("att_qkv_depth", "tucker")
    assert adapter.rank_names == ("input", "head_dim", "heads", "qkv", "depth")
    assert adapter.rank_bounds == {"input": 20, "head_dim": 6, "heads": 4, "qkv": 3, "depth": 5}


def test_a_full_mode_has_no_rank_to_choose() -> None:
    assert LOTR.rank_names == ("input", "output")
    assert LOTR.rank_bounds == {"input": 20, "output": 24}


@pytest.mark.parametrize(("construction", "factorization"), [("att", "cp"), ("matrix", "matrix")])
def test_cp_and_lora_have_one_rank(
    construction: Construction, factorization: Factorization
) -> None:
    assert shape(construction, factorization).rank_names == ("rank",)


def test_a_tensor_train_has_a_bond_between_neighbouring_modes() -> None:
    assert shape("att_qkv", "tt").rank_names == ("bond_1", "bond_2", "bond_3")


@pytest.mark.parametrize("factorization", ["tucker", "cp", "tt"])
def test_the_matrix_construction_is_refused_for_tensor_factorizations(
    factorization: Factorization,
) -> None:
    message = (
        "construction and factorization must both be 'matrix' or neither, "
        f"got 'matrix' with '{factorization}'"
    )
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        shape("matrix", factorization)


@pytest.mark.parametrize("construction", [c for c in MODES if c != "matrix"])
def test_the_matrix_factorization_is_refused_for_tensor_constructions(
    construction: Construction,
) -> None:
    with pytest.raises(SpaceError, match=f"or neither, got '{construction}' with 'matrix'$"):
        shape(construction, "matrix")


@pytest.mark.parametrize("factorization", ["cp", "tt"])
def test_a_full_mode_is_refused_without_tucker(factorization: Factorization) -> None:
    with pytest.raises(SpaceError, match=f"^only Tucker modes can be full, got '{factorization}'$"):
        AdapterShape(
            construction="sites",
            factorization=factorization,
            backbone=BACKBONE,
            full_modes=frozenset({"site"}),
        )


def test_a_full_mode_of_another_construction_is_refused_by_name() -> None:
    message = "full modes must be modes of sites (input, output, site), got depth, heads"
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        AdapterShape(
            construction="sites",
            factorization="tucker",
            backbone=BACKBONE,
            full_modes=frozenset[Mode]({"site", "heads", "depth"}),
        )


def test_ranks_for_exactly_the_names_of_the_shape_pass() -> None:
    LOTR.check_ranks({"output": 3, "input": 2})


@pytest.mark.parametrize(
    ("ranks", "got"),
    [({"input": 2}, "input"), ({"input": 2, "output": 2, "site": 2}, "input, output, site")],
)
def test_missing_and_surplus_ranks_are_refused(ranks: dict[str, int], got: str) -> None:
    message = f"ranks of sites (tucker) must be given for input, output, got {got}"
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        LOTR.check_ranks(ranks)


def test_no_ranks_at_all_are_refused_in_words() -> None:
    with pytest.raises(SpaceError, match=r"must be given for rank, got none$"):
        shape("att", "cp").check_ranks({})


@pytest.mark.parametrize("rank", [0, -1, True, 2.0])
def test_a_rank_that_is_not_a_positive_integer_is_refused(rank: int) -> None:
    message = f"rank of output must be a positive integer, got {rank!r}"
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        LOTR.check_ranks({"input": 2, "output": rank})


def test_every_mode_that_a_construction_names_has_a_length() -> None:
    modes = {mode for construction in MODES.values() for mode in construction}
    assert modes == set(get_args(Mode))


GROUPED = BackboneShape(d_in=20, heads=4, head_size=6, layers=5, target_heads=(4, 2, 2))


def test_a_target_of_fewer_heads_has_fewer_parameters() -> None:
    lora = AdapterShape(construction="matrix", factorization="matrix", backbone=GROUPED)
    # Inputs and outputs of query, key and value in five layers.
    assert lora.num_parameters({"rank": 3}) == 3 * 5 * ((20 + 24) + (20 + 12) + (20 + 12))
    assert lora.count_parts({"rank": 3}) == {"input": 3 * 5 * 60, "output": 3 * 5 * 48}
    att = AdapterShape(construction="att", factorization="tucker", backbone=GROUPED)
    ranks = {"input": 5, "head_dim": 3, "heads": 2}
    assert att.count_parts(ranks) == {
        "input": 15 * 20 * 5,
        "head_dim": 15 * 6 * 3,
        "heads": 5 * (4 + 2 + 2) * 2,
        "core": 15 * 5 * 3 * 2,
    }


def test_a_rank_is_one_that_every_target_can_use() -> None:
    lora = AdapterShape(construction="matrix", factorization="matrix", backbone=GROUPED)
    assert lora.rank_bounds == {"rank": 12}
    assert lora.is_usable({"rank": np.array([12, 13, 20])}).tolist() == [True, False, False]
    att = AdapterShape(construction="att", factorization="tucker", backbone=GROUPED)
    assert att.rank_bounds == {"input": 20, "head_dim": 6, "heads": 2}


def test_a_feasible_set_counts_every_target_by_its_own_heads() -> None:
    lora = AdapterShape(construction="matrix", factorization="matrix", backbone=GROUPED)
    choices = {"rank": range(1, 13)}
    # 540 parameters for each rank.
    assert FeasibleSet(lora, choices, 2_700).find_largest() == {"rank": 5}
    assert FeasibleSet(lora, choices, 2_699).find_largest() == {"rank": 4}
    with pytest.raises(BudgetError, match="budget must be at least 540 "):
        FeasibleSet(lora, choices, 539)
