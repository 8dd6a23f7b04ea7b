"""Rounds: what is decided on together, whatever trains it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial

from allocator.training.messages import Job
from allocator.tuning.evidence.race import SEARCH_SEEDS
from allocator.tuning.space.space_file import read_space
from allocator.tuning.storage.trial_memory import (
    is_baseline,
    list_standing,
    read_purpose,
    read_round,
    read_seed,
)
from allocator.tuning.study.study import SearchStudy
from tests.tuning.scripted import Script, describe_study, make_space, smooth_loss


def list_rounds(study: SearchStudy) -> dict[int, list[FrozenTrial]]:
    rounds = defaultdict(list)
    for trial in list_standing(study.trials):
        rounds[read_round(trial)].append(trial)
    return rounds


@pytest.mark.parametrize("trials", [8, 16, 28, 64])
@pytest.mark.parametrize("slots", [16, 64])
def test_a_search_has_at_least_four_rounds_whatever_a_pack_holds(
    trials: int, slots: int, tmp_path: Path
) -> None:
    study = Script(folder=tmp_path / "study", trials=trials, slots=slots).run()
    rounds = list_rounds(study)
    assert len(rounds) >= 4
    assert len(study.trials) <= trials
    assert max(map(len, rounds.values())) <= max(6, trials // 4)


def test_a_study_does_not_depend_on_slots_and_devices(tmp_path: Path) -> None:
    studies = [
        describe_study(
            Script(
                folder=tmp_path / f"{slots}-{devices}",
                slots=slots,
                devices=devices,
                sampler="gp",
                trials=20,
            ).run()
        )
        for slots, devices in ((4, 1), (1, 1), (16, 1), (2, 2))
    ]
    assert all(study == studies[0] for study in studies[1:])


def test_trainings_have_the_purposes_and_seeds_of_their_rounds(tmp_path: Path) -> None:
    study = Script(folder=tmp_path / "study", trials=28).run()
    trials = list_standing(study.trials)
    assert read_purpose(trials[0]) == "baseline"
    of_purpose = defaultdict(set)
    for trial in trials:
        of_purpose[read_purpose(trial)].add(read_seed(trial))
    assert of_purpose["baseline"] == of_purpose["proposal"] == of_purpose["search"] == {0}
    assert of_purpose["race"] <= set(range(1, SEARCH_SEEDS))
    assert of_purpose["verdict"] == {SEARCH_SEEDS, SEARCH_SEEDS + 1, SEARCH_SEEDS + 2}
    # No allocation has a seed twice.
    made = [(tuple(trial.params.items()), read_seed(trial)) for trial in trials]
    assert len(set(made)) == len(made)
    # Choice and baseline alike, with the same seeds.
    proving = [trial for trial in trials if read_purpose(trial) == "verdict"]
    assert len(proving) == 6
    assert sum(map(is_baseline, proving)) == 3


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 5])
def test_a_search_of_very_few_trainings_has_exactly_as_many(trials: int, tmp_path: Path) -> None:
    study = Script(folder=tmp_path / "study", trials=trials).run()
    assert len(study.trials) <= trials
    assert is_baseline(study.trials[0])


def test_a_finished_study_goes_on_to_a_larger_total(tmp_path: Path) -> None:
    script = Script(folder=tmp_path / "study", trials=16)
    before = describe_study(script.run())
    script.trials = 28
    study = script.run()
    after = describe_study(study)
    assert after[: len(before)] == before
    assert len(before) < len(after) <= 28


def test_a_search_in_which_everything_collapses_tries_other_allocations(tmp_path: Path) -> None:
    study = Script(folder=tmp_path / "study", trials=28, loss=lambda _: None).run()
    purposes = [read_purpose(trial) for trial in list_standing(study.trials)]
    assert len(purposes) == 22  # all but the verdict's, of which nothing is left to prove
    assert set(purposes) == {"baseline", "proposal", "search"}


def test_a_space_of_one_allocation_ends(tmp_path: Path) -> None:
    fixed = {"core_lr_multiplier": 4.0, "learning_rate": 1e-3}
    ranks = {f"rank_{name}": 1.0 for name in ("input", "head_dim", "heads", "qkv", "depth")}
    file = read_space("tenslora_plus").model_copy(update={"parameters": fixed | ranks})
    space = make_space(file)
    study = Script(folder=tmp_path / "study", trials=20, prior="none", space=space).run()
    assert 1 <= len(study.trials) <= SEARCH_SEEDS


def test_the_race_trains_the_leaders(tmp_path: Path) -> None:
    study = Script(folder=tmp_path / "study", trials=28, verdict_seeds=0).run()
    trials = list_standing(study.trials)
    raced = [trial.params for trial in trials if read_purpose(trial) == "race"]
    first = sorted(
        (t for t in trials if read_seed(t) == 0 and t.value is not None), key=lambda t: t.value or 1
    )
    # More seeds go to the better half of what was tried than to the worse half.
    better = [trial.params for trial in first[: len(first) // 2]]
    assert sum(params in better for params in raced) > len(raced) / 2


def test_what_one_seed_does_to_all_does_not_change_a_study(tmp_path: Path) -> None:
    def shifted(job: Job) -> float:
        return smooth_loss(job) + (0.5 if job.seed == 2 else 0.0)

    plain = Script(folder=tmp_path / "plain", trials=28).run().select()
    moved = Script(folder=tmp_path / "moved", trials=28, loss=shifted).run().select()
    assert plain.best.allocation.params == moved.best.allocation.params
