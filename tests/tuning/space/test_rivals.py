"""Rivals: which there are, how large, and at which rates they are tried."""

from __future__ import annotations

import math

import pytest

from allocator.allocation.constructions import BackboneShape
from allocator.errors import BudgetError, SpaceError, UnknownNameError
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.rivals import add_rivals, choose_rivals, list_rival_params
from allocator.tuning.space.space import RIVAL, Space, make_baseline_params
from allocator.tuning.space.space_file import read_space
from allocator.tuning.surrogate.encoder import Encoder

MINILM = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)


def make_space(preset: str = "tenslora_plus", budget: int = 40_000) -> Space:
    return build_space(read_space(preset), MINILM, budget)


def test_rivals_are_the_largest_uniform_ranks_within_the_budget() -> None:
    space = add_rivals(make_space(), ("lora", "cp"))
    for rival in space.rivals:
        params = {RIVAL: rival.choice[RIVAL], **rates(space)}
        (rank,) = space.read_ranks(params).values()
        count = rival.shape.num_parameters
        assert count({"rank": rank}) == space.num_parameters(params) <= 40_000
        assert count({"rank": rank + 1}) > 40_000


def rates(space: Space) -> dict[str, float | str]:
    base = make_baseline_params(space)
    return {name: base[name] for name in space.rate_parameters}


def test_a_rank_may_be_given_and_may_exceed_the_budget() -> None:
    space = add_rivals(make_space(), ("lora:8", "lora:2", "tucker:8"))
    large, small, tucker = ({RIVAL: rival.choice[RIVAL], **rates(space)} for rival in space.rivals)
    # 18 sites of 384 x 384: LoRA has rank x 768 parameters on each.
    assert (space.num_parameters(large), space.num_parameters(small)) == (110_592, 27_648)
    assert (space.fits_budget(large), space.fits_budget(small)) == (False, True)
    # Capped at what the modes qkv and depth can use.
    assert list(space.read_ranks(tucker).values()) == [8, 8, 8, 3, 6]
    assert space.feasible.budget == 40_000


def test_by_default_they_are_those_that_fit_and_are_not_searched_anyway() -> None:
    assert choose_rivals(make_space()) == ("lora", "cp")
    assert choose_rivals(make_space("lora")) == ("cp",)
    assert choose_rivals(make_space("constructions")) == ()
    # The smallest LoRA has 13,824 parameters here.
    assert choose_rivals(make_space(budget=10_000)) == ("cp",)


def test_what_cannot_adapt_targets_of_different_heads_is_no_rival() -> None:
    grouped = BackboneShape(d_in=384, heads=12, head_size=32, layers=6, target_heads=(12, 4, 4))
    att = build_space(read_space("tenslora_att"), grouped, 40_000)
    assert choose_rivals(att) == ("lora",)
    assert choose_rivals(build_space(read_space("lora"), grouped, 40_000)) == ()
    with pytest.raises(SpaceError, match="att_qkv_depth stacks all targets into one tensor"):
        add_rivals(att, ("cp",))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("loar", UnknownNameError, "unknown rival 'loar': did you mean 'lora'?"),
        ("lora:", SpaceError, "rival lora:: the rank must be a positive integer, got ''"),
        ("lora:0", SpaceError, "rival lora:0: the rank must be a positive integer, got '0'"),
        ("lora:x", SpaceError, "rival lora:x: the rank must be a positive integer, got 'x'"),
        ("lora", BudgetError, "rival lora: none fits the budget of 10,000, as the smallest has "),
    ],
)
def test_a_rival_that_cannot_be_is_refused(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        add_rivals(make_space(budget=10_000), (name,))
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rates_are_spread_over_the_range_the_middle_first(count: int) -> None:
    space = add_rivals(make_space(), ("lora", "cp"))
    listed = list(list_rival_params(space, count))
    assert [params[RIVAL] for params in listed] == ["lora", "cp"] * count
    of_lora = [float(p["learning_rate"]) for p in listed if p[RIVAL] == "lora"]
    middle = float(make_baseline_params(space)["learning_rate"])
    assert len(set(of_lora)) == count
    # The range is 1e-4 to 1e-2, symmetric about its middle.
    assert math.prod(of_lora) == pytest.approx(middle**count)
    assert (of_lora[0] == middle) == (count % 2 == 1)
    assert all(1e-4 < rate < 1e-2 for rate in of_lora)
    assert all(space.has_all_params(params) for params in listed)
    assert not any(space.without_rivals.has_all_params(params) for params in listed)


def test_the_spaces_own_points_are_encoded_as_without_rivals() -> None:
    alone, contested = make_space(), add_rivals(make_space(), ("lora", "cp"))
    base = make_baseline_params(alone)
    assert make_baseline_params(contested) == base
    encoded = []
    for space in (alone, contested):
        encoder = Encoder(space)
        encoded.append(encoder.encode_points(encoder.domain.params_to_points([base]))[0])
    assert encoded[1].tolist() == [*encoded[0].tolist(), 0.0, 0.0]
