"""Spaces of several adapter shapes, against an enumeration of each shape by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
import optuna
import pytest

from allocator.allocation.constructions import BackboneShape
from allocator.allocation.feasible_union import FeasibleUnion
from allocator.errors import BudgetError, SpaceError
from allocator.tuning.names import SamplerName
from allocator.tuning.samplers.feasible_sampler import ask_trial
from allocator.tuning.samplers.make_sampler import make_sampler
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.points import Domain
from allocator.tuning.space.space import Params, Space, make_baseline_params
from allocator.tuning.space.space_file import SpaceFile, read_space
from allocator.tuning.surrogate.observations import Observation
from allocator.tuning.surrogate.surrogate import Surrogate

TINY = BackboneShape(d_in=32, heads=4, head_size=8, layers=2)
FILE = SpaceFile(
    construction=("qkv_depth", "att", "matrix"), factorization=("tucker", "cp", "matrix")
)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def space() -> Space:
    return build_space(FILE, TINY, 1_500)


def test_the_variants_are_the_combinations_that_go_together(space: Space) -> None:
    assert [tuple(variant.choice.values()) for variant in space.variants] == [
        ("qkv_depth", "tucker"),
        ("qkv_depth", "cp"),
        ("att", "tucker"),
        ("att", "cp"),
        ("matrix", "matrix"),
    ]


def test_ranks_of_factorizations_that_share_a_name_are_told_apart(space: Space) -> None:
    assert list(space.distributions) == [
        "construction",
        "factorization",
        "rank_input",
        "rank_output",
        "rank_qkv",
        "rank_depth",
        "cp_rank",
        "rank_head_dim",
        "rank_heads",
        "matrix_rank",
        "core_lr_multiplier",
        "learning_rate",
    ]


def test_every_feasible_point_is_one_of_a_shape_by_itself(space: Space) -> None:
    feasible = space.feasible
    assert isinstance(feasible, FeasibleUnion)
    assert feasible.points is not None
    assert feasible.size == len(feasible.points) == sum(v.feasible.size for v in space.variants)
    assert feasible.is_feasible(feasible.points).all()
    assert len(np.unique(feasible.points, axis=0)) == feasible.size
    for point, count in zip(
        feasible.points, feasible.count_parameters(feasible.points), strict=True
    ):
        params = space.row_to_params(point)
        assert space.params_to_row(params) == point.tolist()
        assert space.num_parameters(params) == count <= 1_500


def test_a_point_with_a_rank_that_its_shape_does_not_have_is_not_feasible(space: Space) -> None:
    feasible = space.feasible
    assert isinstance(feasible, FeasibleUnion)
    row = feasible.columns.index("cp_rank")
    points = feasible.sample(50, np.random.default_rng(0))
    points = points[points[:, 0] == 1]
    points[:, row] = 2
    assert not feasible.is_feasible(points).any()


def test_a_smaller_budget_keeps_the_numbers_of_its_shapes(space: Space) -> None:
    feasible = space.feasible
    assert isinstance(feasible, FeasibleUnion)
    assert feasible.points is not None
    counts = feasible.count_parameters(feasible.points)
    # Some shapes have nothing as small, and the others keep their numbers.
    budget = max(v.shape.num_parameters(v.feasible.find_smallest()) for v in space.variants) - 1
    limited = feasible.limit(budget)
    assert limited.points is not None
    assert limited.columns == feasible.columns
    assert limited.points.tolist() == feasible.points[counts <= budget].tolist()
    assert len(set(limited.points[:, 0].tolist())) < len(space.variants)
    drawn = limited.sample(200, np.random.default_rng(0))
    assert limited.is_feasible(drawn).all()
    assert (limited.count_parameters(drawn) <= budget).all()
    assert (limited.is_feasible(feasible.points) == (counts <= budget)).all()
    with pytest.raises(BudgetError, match="at least"):
        feasible.limit(1)


def test_a_sample_has_all_variants_alike_however_many_points_they_have(space: Space) -> None:
    drawn = Counter(space.feasible.sample(5_000, np.random.default_rng(0))[:, 0].tolist())
    assert all(800 < drawn[number] < 1_200 for number in range(1, 6))


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_a_trial_has_the_parameters_of_its_variant_alone(name: SamplerName, space: Space) -> None:
    sampler = make_sampler(name, space, seed=0, final_step=1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for number in range(14):
        trial = ask_trial(study, space)
        assert set(trial.params) == set(space.list_searched(space.find_variant(trial.params)))
        assert space.num_parameters(trial.params) <= 1_500
        study.tell(trial, 0.1 * (number % 3))


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_a_choice_that_was_enqueued_is_kept_and_the_rest_fits_it(
    name: SamplerName, space: Space
) -> None:
    sampler = make_sampler(name, space, seed=0, final_step=1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(12):
        study.enqueue_trial({"construction": "att", "factorization": "cp"})
        trial = ask_trial(study, space)
        assert space.find_variant(trial.params).shape.construction == "att"
        assert "cp_rank" in trial.params
        study.tell(trial, 0.5)


def test_the_surrogate_learns_which_factorization_is_better(space: Space) -> None:
    domain, rng = Domain(space), np.random.default_rng(0)

    def true(params: Params) -> float:
        rate = np.log(float(params["learning_rate"]) / 1e-3)
        return float(0.3 * (params["factorization"] == "cp") - 0.02 * rate**2)

    seen = [domain.point_to_params(point) for point in domain.sample_points(30, rng)]
    surrogate = Surrogate.fit(
        space, [Observation(params=p, seed=0, fidelity=1.0, score=true(p)) for p in seen]
    )
    new = [domain.point_to_params(point) for point in domain.sample_points(200, rng)]
    mean, _ = surrogate.predict(new)
    assert np.corrcoef(mean, [true(params) for params in new])[0, 1] > 0.9


def test_the_baseline_is_the_uniform_rank_of_the_first_combination(space: Space) -> None:
    params = make_baseline_params(space)
    assert space.find_variant(params) is space.variants[0]
    assert space.has_all_params(params)


def test_shapes_of_which_nothing_fits_are_left_out() -> None:
    space = build_space(FILE, TINY, 300)
    assert {v.choice["factorization"] for v in space.variants} == {"tucker", "cp"}
    assert "matrix_rank" not in space.distributions


def test_a_budget_below_all_shapes_is_refused_with_the_smallest_that_would_do() -> None:
    smallest = 32 + 32 + 3 + 2  # a CP of rank 1
    with pytest.raises(BudgetError, match=f"^budget must be at least {smallest} "):
        build_space(FILE, TINY, smallest - 1)


def test_a_full_mode_is_one_of_those_tucker_shapes_that_have_it() -> None:
    file = SpaceFile.model_validate(
        {
            "construction": ("qkv_depth", "att"),
            "factorization": ("tucker", "cp"),
            "parameters": {"rank_qkv": "full"},
        }
    )
    full = {
        tuple(v.choice.values()): v.shape.full_modes
        for v in build_space(file, TINY, 5_000).variants
    }
    assert full[("qkv_depth", "tucker")] == {"qkv"}
    assert not full[("att", "tucker")] | full[("qkv_depth", "cp")]


def test_a_file_names_a_list_or_one(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("construction: [att, qkv]\nfactorization: cp\n", encoding="utf-8")
    file = read_space(str(path))
    assert (file.constructions, file.factorizations) == (("att", "qkv"), ("cp",))
    space = build_space(file, TINY, 5_000)
    assert space.choices == ("construction",)
    assert "rank" in space.distributions


def test_a_list_with_a_construction_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("construction: [att, qvk]\nfactorization: cp\n", encoding="utf-8")
    with pytest.raises(SpaceError, match=r"construction.*qvk"):
        read_space(str(path))


def test_neighbours_of_a_point_stay_feasible(space: Space) -> None:
    domain = Domain(space)
    ranks = domain.read_ranks(domain.sample_points(40, np.random.default_rng(0)))
    moves, start = domain.list_rank_moves(ranks)
    assert space.feasible.is_feasible(moves).all()
    assert len(set(start.tolist())) > 20
