"""Priors by name: what each proposes for known evidence, and what none may ever propose."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator.allocation.constructions import BackboneShape
from allocator.tuning.names import PriorName
from allocator.tuning.priors.baseline_evidence import Baseline
from allocator.tuning.priors.make_prior import make_prior, needs_baseline
from allocator.tuning.priors.prior import Prior
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Params, Space, make_baseline_params
from allocator.tuning.space.space_file import list_preset_names, read_space

MINILM = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)
ROBERTA = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
MODES = ("input", "head_dim", "heads", "qkv", "depth")
TUCKER = [
    name
    for name in list_preset_names()
    if read_space(name).factorization == "tucker" and isinstance(read_space(name).construction, str)
]
MakeBaseline = Callable[..., Baseline]


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space(read_space("tenslora_plus"), MINILM, 40_000)


def made(name: str, space: Space, baseline: Baseline | None) -> Prior:
    prior = make_prior(name, space, make_baseline_params(space), baseline=baseline)
    assert prior is not None
    return prior


def first_ranks(name: str, space: Space, baseline: Baseline) -> dict[str, int]:
    return space.read_ranks(made(name, space, baseline).proposals[0])


def test_the_uniform_prior_starts_with_the_baselines_ranks_at_a_larger_lambda(space: Space) -> None:
    first = made("uniform", space, None).proposals[0]
    assert space.read_ranks(first) == space.variants[0].feasible.find_uniform()
    assert first["learning_rate"] == make_baseline_params(space)["learning_rate"]
    core_rate = float(first["core_lr_multiplier"]) * float(first["learning_rate"])
    assert core_rate == pytest.approx(4e-3)


def test_entropy_gives_ranks_in_proportion_to_what_modes_use(
    space: Space, make_baseline: MakeBaseline
) -> None:
    used = dict(zip(MODES, (6.0, 4.0, 2.0, 1.0, 1.0), strict=True))
    ranks = first_ranks("entropy", space, make_baseline(space, effective_rank=used))
    assert ranks["input"] / ranks["heads"] == pytest.approx(3, rel=0.1)
    assert ranks["input"] / ranks["head_dim"] == pytest.approx(1.5, rel=0.1)
    raised = [{**ranks, mode: rank + 1} for mode, rank in ranks.items() if mode != "qkv"]
    assert sum(space.shape.num_parameters(r) > 40_000 for r in raised) >= 1


def test_tenslora_plus_raises_busy_modes_and_lowers_idle_ones(
    space: Space, make_baseline: MakeBaseline
) -> None:
    baseline = make_baseline(
        space,
        normalized_entropy=dict(zip(MODES, (0.9, 0.8, 0.3, 0.5, 0.5), strict=True)),
        top1_energy=dict(zip(MODES, (0.1, 0.6, 0.9, 0.5, 0.5), strict=True)),
    )
    ranks = first_ranks("tenslora_plus", space, baseline)
    # input is busy by both measures, head_dim by one alone, heads idle by both; all were 12
    assert ranks["input"] / ranks["head_dim"] == pytest.approx(2, rel=0.1)
    assert ranks["heads"] / ranks["head_dim"] == pytest.approx(0.5, rel=0.1)


def test_gradient_gives_ranks_in_proportion_to_gradients_per_column(
    space: Space, make_baseline: MakeBaseline
) -> None:
    baseline = make_baseline(space, gradient={"input": 2.0, "head_dim": 1.0, "heads": 0.5})
    ranks = first_ranks("gradient", space, baseline)
    assert ranks["input"] / ranks["head_dim"] == pytest.approx(2, rel=0.1)
    assert ranks["heads"] / ranks["head_dim"] == pytest.approx(0.5, rel=0.2)


def test_truncation_spends_where_a_cut_costs_most(
    space: Space, make_baseline: MakeBaseline
) -> None:
    losses = {"input": [0.5 + 0.3 / r for r in range(1, 13)]}
    ranks = first_ranks("truncation", space, make_baseline(space, losses=losses))
    assert ranks["input"] == 32
    # the other modes lose nothing at rank 1, so they take the fewest that input can still use
    assert np.prod([ranks[mode] for mode in MODES[1:]]) >= 32
    rivals = space.feasible.points
    assert rivals is not None
    with_all_input = rivals[rivals[:, 0] == 32]
    assert (
        space.shape.num_parameters(ranks) == space.feasible.count_parameters(with_all_input).min()
    )


@pytest.mark.parametrize("name", ["entropy", "tenslora_plus", "gradient", "truncation"])
def test_without_evidence_the_uniform_prior_stands_in_under_its_own_name(name: str) -> None:
    for preset in ("tenslora_att_qkv_depth_cp", "tt", "lora_plus", "constructions"):
        space = build_space(read_space(preset), ROBERTA, 200_000)
        prior = make_prior(name, space, make_baseline_params(space), baseline=None)
        assert prior == make_prior("uniform", space, make_baseline_params(space))


def test_a_space_of_several_shapes_proposes_each_before_any_again() -> None:
    space = build_space(read_space("constructions"), ROBERTA, 200_000)
    prior = made("uniform", space, None)
    shapes = [space.find_variant(p).shape.construction for p in prior.proposals]
    assert set(shapes[: len(space.variants)]) == {v.shape.construction for v in space.variants}


def test_none_proposes_nothing_but_a_users_own(space: Space) -> None:
    base = make_baseline_params(space)
    own: Params = {**base, "core_lr_multiplier": 3.0}
    assert make_prior("none", space, base) is None
    prior = make_prior("none", space, base, starts=[own])
    assert prior is not None
    assert prior.proposals == (own,)


def test_a_users_own_guesses_come_first(space: Space, make_baseline: MakeBaseline) -> None:
    base = make_baseline_params(space)
    own: Params = {**base, "core_lr_multiplier": 3.0}
    prior = make_prior("entropy", space, base, baseline=make_baseline(space), starts=[own, own])
    assert prior is not None
    assert prior.proposals[0] == own
    assert own not in prior.proposals[1:]


@pytest.mark.parametrize("name", get_args(PriorName))
def test_every_name_makes_a_prior_of_its_own(
    name: PriorName, space: Space, make_baseline: MakeBaseline
) -> None:
    base = make_baseline_params(space)
    prior = make_prior(name, space, base, baseline=make_baseline(space))
    assert (None if prior is None else prior.name) == (None if name == "none" else name)
    assert needs_baseline(name) == (name not in ("none", "uniform"))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_prior_ever_proposes_what_the_space_does_not_have(
    data: st.DataObject, make_baseline: MakeBaseline
) -> None:
    name = data.draw(st.sampled_from([n for n in get_args(PriorName) if n != "none"]))
    preset = data.draw(st.sampled_from(TUCKER))
    backbone = data.draw(st.sampled_from([MINILM, ROBERTA]))
    file = read_space(preset)
    backbone = BackboneShape(
        d_in=backbone.d_in,
        heads=backbone.heads,
        head_size=backbone.head_size,
        layers=backbone.layers,
        targets=file.targets,
    )
    least = build_space(file, backbone, 10_000_000).variants[0].feasible.find_smallest()
    shape = build_space(file, backbone, 10_000_000).shape
    budget = data.draw(st.integers(shape.num_parameters(least), 150_000))
    space = build_space(file, backbone, budget)
    prior = made(name, space, drawn_baseline(data, space, make_baseline))
    assert prior.name == name
    rows = [tuple(sorted(p.items())) for p in prior.proposals]
    assert len(set(rows)) == len(rows) >= 1
    assert space.feasible.is_feasible(
        np.array([space.params_to_row(p) for p in prior.proposals])
    ).all()
    for params in prior.proposals:
        assert space.num_parameters(params) <= budget
        assert set(params) == set(space.distributions)
        assert shape.is_usable(space.read_ranks(params))
        assert all(d._contains(float(params[n])) for n, d in space.distributions.items())


def drawn_baseline(data: st.DataObject, space: Space, make_baseline: MakeBaseline) -> Baseline:
    ranks = space.variants[0].feasible.find_uniform()

    def numbers(low: float, high: float) -> dict[str, float]:
        return {mode: data.draw(st.floats(low, high)) for mode in ranks}

    return make_baseline(
        space,
        effective_rank=numbers(1, 32),
        normalized_entropy=numbers(0, 1),
        top1_energy=numbers(0, 1),
        gradient=numbers(0, 1e3),
        losses={
            mode: [data.draw(st.floats(0, 10)) for _ in range(rank)] for mode, rank in ranks.items()
        },
    )


@pytest.mark.parametrize("name", [n for n in get_args(PriorName) if n != "none"])
def test_the_same_evidence_gives_the_same_proposals(
    name: str, space: Space, make_baseline: MakeBaseline
) -> None:
    first, second = (made(name, space, make_baseline(space)) for _ in range(2))
    assert first.proposals == second.proposals
