"""Which adapter a study hands over."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.coordination.records import Records
from allocator.files.study_folder import DELIVERED_FOLDER
from allocator.tuning.storage.trial_memory import read_seed
from allocator.tuning.study.delivered import (
    find_delivered,
    find_trained_on_all,
    list_delivery_seeds,
    name_delivered,
)
from tests.tuning.scripted import Script


@pytest.mark.parametrize("decide_by", ["loss", "metric"])
def test_without_a_training_on_all_of_train_it_is_the_seed_of_middle_value(
    decide_by: str, tmp_path: Path
) -> None:
    study = Script(folder=tmp_path, trials=28, decide_by=decide_by).run()
    choice = study.select().best.allocation
    delivered = find_delivered(study, choice)
    values = {study.adapter_path(t.number): t.values[0] for t in choice.completed}
    worst_first = sorted(values, key=lambda path: study.objective.sign * values[path])
    assert len(values) >= 3
    assert worst_first.index(delivered.path) == (len(values) - 1) // 2
    (trial,) = (t for t in choice.completed if study.adapter_path(t.number) == delivered.path)
    assert delivered.seed == read_seed(trial)
    assert delivered.training == (
        f"trial {trial.number}, trained on what seed {delivered.seed} does not hold out"
    )


def test_the_training_on_all_of_train_is_handed_over_once_it_is_there(tmp_path: Path) -> None:
    study = Script(folder=tmp_path).run()
    choice = study.select().best.allocation
    path = Records(tmp_path / DELIVERED_FOLDER).adapter_path(name_delivered(choice), 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"adapter")
    delivered = find_delivered(study, choice)
    assert (delivered.path, delivered.training) == (path, "trained on all of train")


def test_a_seed_that_collapsed_on_all_of_train_leaves_it_to_the_next(tmp_path: Path) -> None:
    study = Script(folder=tmp_path).run()
    choice = study.select().best.allocation
    assert find_trained_on_all(study, choice) is None
    seeds = list_delivery_seeds(study)
    assert seeds[0] == study.config.training.seed
    assert len(set(seeds)) == len(seeds) > 1
    path = Records(tmp_path / DELIVERED_FOLDER).adapter_path(name_delivered(choice), seeds[1])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"adapter")
    delivered = find_delivered(study, choice)
    assert (delivered.path, delivered.seed) == (path, seeds[1])
