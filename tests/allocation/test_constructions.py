import math

import pytest

from allocator.allocation.constructions import (
    MODES,
    BackboneShape,
    Construction,
    make_tensor_shape,
    require_same_names,
)

# Every length differs, so that no two modes can be taken for each other.
BACKBONE = BackboneShape(d_in=20, heads=4, head_size=6, layers=5, targets=("query", "key", "value"))


def test_a_projection_is_as_wide_as_its_heads_together() -> None:
    assert BACKBONE.d_out == 24


@pytest.mark.parametrize(
    ("construction", "lengths", "copies"),
    [
        ("att", {"input": 20, "head_dim": 6, "heads": 4}, 3 * 5),
        ("qkv", {"input": 20, "output": 24, "qkv": 3}, 5),
        ("depth", {"input": 20, "output": 24, "depth": 5}, 3),
        ("att_qkv", {"input": 20, "head_dim": 6, "heads": 4, "qkv": 3}, 5),
        ("att_depth", {"input": 20, "head_dim": 6, "heads": 4, "depth": 5}, 3),
        ("qkv_depth", {"input": 20, "output": 24, "qkv": 3, "depth": 5}, 1),
        ("att_qkv_depth", {"input": 20, "head_dim": 6, "heads": 4, "qkv": 3, "depth": 5}, 1),
        ("sites", {"input": 20, "output": 24, "site": 15}, 1),
        ("matrix", {"input": 20, "output": 24}, 3 * 5),
    ],
)
def test_a_construction_has_its_modes_in_order_and_its_number_of_tensors(
    construction: Construction, lengths: dict[str, int], copies: int
) -> None:
    tensor = make_tensor_shape(construction, BACKBONE)
    assert list(tensor.dims.items()) == list(lengths.items())
    assert tensor.copies == copies


@pytest.mark.parametrize("construction", MODES)
def test_the_tensors_of_a_construction_hold_every_weight_of_every_site_once(
    construction: Construction,
) -> None:
    tensor = make_tensor_shape(construction, BACKBONE)
    weights = tensor.copies * math.prod(tensor.dims.values())
    assert weights == 3 * 5 * BACKBONE.d_in * BACKBONE.d_out


@pytest.mark.parametrize("construction", MODES)
def test_copies_are_by_layer_and_by_target_where_these_are_no_modes(
    construction: Construction,
) -> None:
    tensor = make_tensor_shape(construction, BACKBONE)
    by_layer = "depth" not in construction and "sites" not in construction
    by_target = "qkv" not in construction and "sites" not in construction
    assert (tensor.layer_copies, tensor.target_copies) == (
        5 if by_layer else 1,
        3 if by_target else 1,
    )


def test_fewer_targets_make_the_qkv_and_site_modes_shorter() -> None:
    backbone = BackboneShape(d_in=20, heads=4, head_size=6, layers=5, targets=("query", "value"))
    assert make_tensor_shape("qkv", backbone).dims["qkv"] == 2
    assert make_tensor_shape("sites", backbone).dims["site"] == 10
    assert make_tensor_shape("depth", backbone).copies == 2


def test_a_table_that_lacks_a_name_or_has_another_is_refused() -> None:
    require_same_names("TABLE", ["a", "b"], ["b", "a"])
    with pytest.raises(TypeError, match=r"^TABLE must have an entry for b, c; add it$"):
        require_same_names("TABLE", ["a"], ["a", "b", "c"])
    with pytest.raises(TypeError, match=r"^TABLE has an entry for b, which is not declared$"):
        require_same_names("TABLE", ["a", "b"], ["a"])
