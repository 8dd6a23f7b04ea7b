"""The rounds of a study: what they hold, and on what they do not depend."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from allocator.coordination.coordinator import Coordinator
from allocator.training.messages import Job, WorkerDied
from allocator.tuning.evidence.race import SEARCH_SEEDS
from allocator.tuning.screen.watchers import QuietWatcher
from allocator.tuning.space.space import make_baseline_params
from allocator.tuning.space.space_file import Range, SpaceFile
from allocator.tuning.storage.trial_memory import (
    has_collapsed,
    is_baseline,
    is_finished,
    list_standing,
    read_purpose,
    read_round,
    read_seed,
)
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.proposal_queue import PROPOSALS
from allocator.tuning.study.study import SearchStudy
from tests.tuning.scripted import (
    Script,
    ScriptedWorker,
    describe_study,
    make_space,
    smooth_loss,
)


def run(folder: Path, **settings: object) -> list[FrozenTrial]:
    return list_standing(Script(folder=folder, **settings).run().trials)  # type: ignore[arg-type]


def purposes(trials: Sequence[FrozenTrial]) -> list[str]:
    return [read_purpose(trial) for trial in trials]


def make_ranks_only(ranks: int) -> SpaceFile:
    """Make a space of a few matrices whose rates are all fixed."""
    return SpaceFile(
        construction="matrix",
        factorization="matrix",
        parameters={
            "rank": Range(low=1, high=ranks),
            "learning_rate": 1e-3,
            "core_lr_multiplier": 1.0,
        },
    )


class RoundWatcher(QuietWatcher):
    """Checks, whenever a training starts or ends, what has started and ended before it."""

    def __init__(self, study: SearchStudy) -> None:
        self._study = study
        self.sizes: dict[int, int] = {}  # trainings of a round when its first one started

    def on_started(self, number: int) -> None:
        """Check that the round before has ended, and that all of this one is decided on."""
        standing = list_standing(self._study.trials)
        this = read_round(self._study.trials[number])
        assert all(is_finished(trial) for trial in standing if read_round(trial) < this)
        members = [trial for trial in standing if read_round(trial) == this]
        assert len(members) == self.sizes.setdefault(this, len(members))


@pytest.mark.parametrize("slots", [1, 16])
@pytest.mark.parametrize("trials", [8, 16, 28, 64])
def test_a_study_has_at_least_four_rounds_before_its_verdict(
    trials: int, slots: int, tmp_path: Path
) -> None:
    made = run(tmp_path, trials=trials, slots=slots)
    assert len(made) == trials
    assert len({read_round(t) for t in made if read_purpose(t) != "verdict"}) >= 4


@pytest.mark.parametrize("prior", ["gradient", "none"])
def test_a_round_is_decided_on_before_it_starts_and_ends_before_the_next(
    prior: str, tmp_path: Path
) -> None:
    script = Script(folder=tmp_path, prior=prior, trials=28, slots=2)
    study = script.open()
    watcher = RoundWatcher(study)
    Coordinator(
        study,
        lambda _device, slots: ScriptedWorker(smooth_loss, slots or 2, lambda: None),
        ["cpu"],
        watcher,
        slots=2,
    ).run()
    standing = list_standing(study.trials)
    assert len(watcher.sizes) > 4
    assert watcher.sizes == {
        number: sum(read_round(trial) == number for trial in standing) for number in watcher.sizes
    }


def test_a_study_does_not_depend_on_how_many_trainings_a_device_takes_or_on_devices(
    tmp_path: Path,
) -> None:
    alone, *others = (
        describe_study(
            Script(
                folder=tmp_path / f"{slots}-{devices}",
                slots=slots,
                devices=devices,
                trials=28,
                sampler="gp",
                prior="none",
            ).run()
        )
        for slots, devices in ((1, 1), (4, 1), (16, 1), (1, 2), (4, 2))
    )
    assert all(other == alone for other in others)


@pytest.mark.parametrize("slots", [1, 16])
@pytest.mark.parametrize("trials", [1, 2, 3, 4, 5, 7, 11])
def test_a_small_total_is_kept_and_tries_something_beside_the_baseline(
    trials: int, slots: int, tmp_path: Path
) -> None:
    made = run(tmp_path, trials=trials, slots=slots)
    assert 1 <= len(made) <= trials
    assert purposes(made)[0] == "baseline"
    if trials > 1:
        assert purposes(made)[1] == "proposal"


def test_a_study_that_goes_on_never_exceeds_its_total_and_keeps_what_it_has(
    tmp_path: Path,
) -> None:
    storage = InMemoryStorage()
    before: list[dict[str, object]] = []
    # With more, fewer or no seeds for the verdict, and once with a lower total.
    for trials, seeds in ((4, 3), (28, 3), (28, 3), (40, 3), (41, 5), (60, 5), (30, 2), (61, 0)):
        script = Script(
            folder=tmp_path, storage=storage, trials=trials, verdict_seeds=seeds, sampler="random"
        )
        after = describe_study(script.run())
        assert after[: len(before)] == before
        assert len(after) <= max(trials, len(before))
        before = after
    assert len(before) == 61


def test_a_study_that_goes_on_proves_another_choice_with_the_baselines_trainings(
    tmp_path: Path,
) -> None:
    storage = InMemoryStorage()
    Script(folder=tmp_path, storage=storage, trials=16).run()

    def loss(job: Job) -> float:
        # What comes after the first verdict is better than all before it.
        return smooth_loss(job) - 0.2 * (job.trial >= 16 and job.allocation.learning_rate != 1e-3)

    made = run(tmp_path, storage=storage, trials=40, loss=loss)
    proving = [trial for trial in made if read_purpose(trial) == "verdict"]
    assert [is_baseline(trial) for trial in proving].count(True) == 3
    of_choices = [tuple(t.params.values()) for t in proving if not is_baseline(t)]
    assert len(of_choices) == 6
    assert len(set(of_choices)) == 2


def test_a_total_that_leaves_no_room_for_a_pair_makes_no_verdict(tmp_path: Path) -> None:
    storage = InMemoryStorage()
    Script(folder=tmp_path, storage=storage, trials=11, verdict_seeds=0).run()
    made = run(tmp_path, storage=storage, trials=12, verdict_seeds=3)
    assert "verdict" not in purposes(made)


def test_the_verdict_trains_choice_and_baseline_with_seeds_that_no_search_has(
    tmp_path: Path,
) -> None:
    script = Script(folder=tmp_path, trials=28)
    study = script.run()
    proving = [t for t in list_standing(study.trials) if read_purpose(t) == "verdict"]
    choice = study.select().best.allocation.params
    pairs = {(read_seed(trial), is_baseline(trial)) for trial in proving}
    assert pairs == {(SEARCH_SEEDS + i, side) for i in range(3) for side in (False, True)}
    for trial in proving:
        baseline = make_baseline_params(study.space)
        assert trial.params == (baseline if is_baseline(trial) else choice)


@pytest.mark.parametrize("prior", ["none", "gradient"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_space_of_few_allocations_ends_without_a_training_made_twice(
    ranks: int, prior: str, tmp_path: Path
) -> None:
    space = make_space(make_ranks_only(ranks), 6 * 6 * 64)
    made = run(tmp_path, space=space, prior=prior, trials=28)
    trained = [(tuple(trial.params.items()), read_seed(trial)) for trial in made]
    assert len(set(trained)) == len(trained) <= 28
    assert len({params for params, _ in trained}) == ranks
    assert max(seed for _, seed in trained) < SEARCH_SEEDS + 3


def test_a_study_in_which_everything_collapses_goes_on_to_other_allocations_and_ends(
    tmp_path: Path,
) -> None:
    made = run(tmp_path, trials=28, loss=lambda _: None)
    assert all(map(has_collapsed, made))
    assert set(purposes(made)) == {"baseline", "proposal", "search"}
    assert len({tuple(trial.params.items()) for trial in made}) == len(made) == 22


def test_where_all_of_a_small_space_collapses_the_study_ends(tmp_path: Path) -> None:
    made = run(tmp_path, space=make_space(make_ranks_only(2), 6 * 6 * 64), loss=lambda _: None)
    assert len(made) == 2


def test_without_a_baseline_to_compare_with_there_is_no_verdict(tmp_path: Path) -> None:
    def loss(job: Job) -> float | None:
        return None if job.allocation.core_lr_multiplier == 1.0 else smooth_loss(job)

    made = run(tmp_path, trials=16, loss=loss)
    assert has_collapsed(made[0])
    assert "race" in purposes(made)
    assert "verdict" not in purposes(made)


def test_a_prior_that_needs_no_baseline_is_proposed_beside_it(tmp_path: Path) -> None:
    made = run(tmp_path, trials=28, prior="uniform")
    first = [trial for trial in made if read_round(trial) == 0]
    assert purposes(first) == ["baseline", *["proposal"] * PROPOSALS, "search"]
    assert len(first) == Goal(trials=28, verdict_seeds=3).places


def test_a_worker_that_dies_costs_no_training(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    boundaries = itertools.count()

    def die_once() -> None:
        if next(boundaries) == 9:
            raise WorkerDied("cpu", 1)

    script = Script(folder=tmp_path / "pieces")
    pieces = list_standing(script.run(die_once).trials)
    assert [(t.params, read_seed(t), read_round(t)) for t in pieces] == [
        (t.params, read_seed(t), read_round(t)) for t in whole
    ]


def test_a_goal_is_as_large_as_its_devices_are_fast() -> None:
    assert Goal.choose(None, 3, rivals=0, budgets=1, kind="cpu", devices=2).trials == 28
    assert Goal.choose(None, 3, rivals=0, budgets=1, kind="cuda", devices=2).trials == 128
    assert Goal.choose(7, 3, rivals=0, budgets=1, kind="cuda", devices=2).trials == 7


@pytest.mark.parametrize("trials", range(1, 80))
def test_a_goal_leaves_the_larger_part_to_the_search(trials: int) -> None:
    goal = Goal(trials=trials, verdict_seeds=10)
    assert goal.num_search >= trials / 2
    assert goal.num_search + 2 * goal.num_verdict_seeds == trials
