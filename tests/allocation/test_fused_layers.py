import pytest

from allocator.allocation.fused_layers import (
    FusedLayer,
    OutputSlice,
    place_beside,
    place_side_by_side,
)


def test_whole_layers_lie_one_after_the_other() -> None:
    assert place_side_by_side([4, 2]) == [
        OutputSlice(stop=4, size=4, after=2),
        OutputSlice(stop=2, size=2, before=4),
    ]


def test_queries_come_before_keys_and_these_before_values() -> None:
    parts = FusedLayer(name="qkv").place_parts(width=32, heads=4, head_size=4)
    assert parts == {
        "query": OutputSlice(start=0, stop=16, size=32),
        "key": OutputSlice(start=16, stop=24, size=32),
        "value": OutputSlice(start=24, stop=32, size=32),
    }


def test_every_key_head_may_have_a_group() -> None:
    parts = FusedLayer(name="qkv", is_by_key_head=True).place_parts(width=32, heads=4, head_size=4)
    assert parts == {
        "query": OutputSlice(groups=2, start=0, stop=8, size=16),
        "key": OutputSlice(groups=2, start=8, stop=12, size=16),
        "value": OutputSlice(groups=2, start=12, stop=16, size=16),
    }
    assert [place.width for place in parts.values()] == [16, 8, 8]


@pytest.mark.parametrize("width", [16, 20, 23, 28, 40])
def test_a_width_that_the_heads_do_not_have_has_no_parts(width: int) -> None:
    # Keys would have no head, half a head, a broken one, one and a half, and three for four.
    assert FusedLayer(name="qkv").place_parts(width=width, heads=4, head_size=4) == {}


@pytest.mark.parametrize("is_by_key_head", [False, True])
def test_parts_share_no_outputs_but_the_layer_shares_those_of_all(is_by_key_head: bool) -> None:
    parts = FusedLayer(name="qkv", is_by_key_head=is_by_key_head).place_parts(32, 4, 4)
    (whole,) = place_side_by_side([32])
    for name, part in parts.items():
        assert part.overlaps(whole)
        assert whole.overlaps(part)
        assert [other for other, place in parts.items() if part.overlaps(place)] == [name]


def test_a_part_lies_where_its_layer_does() -> None:
    part = OutputSlice(groups=2, start=1, stop=2, size=3)
    beside = place_beside(part, place_side_by_side([5, 6])[1])
    assert beside == OutputSlice(groups=2, start=1, stop=2, size=3, before=5)


def test_the_parts_of_one_group_lie_as_layers_of_their_own_would() -> None:
    parts = FusedLayer(name="qkv").place_parts(width=32, heads=4, head_size=4)
    (whole,) = place_side_by_side([32])
    beside = [place_beside(part, whole) for part in parts.values()]
    assert beside == place_side_by_side([16, 8, 8])
    first, _ = place_side_by_side([32, 7])
    assert place_beside(parts["key"], first) == OutputSlice(stop=8, size=8, before=16, after=15)
