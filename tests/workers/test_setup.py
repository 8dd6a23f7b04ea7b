"""What a worker trains on and scores on, by the setup of its study."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from allocator.data.sources import TaskData
from allocator.workers.setup import TrainingSetup, load_training_splits

CPU = torch.device("cpu")


@pytest.fixture
def holding_out(training_setup: TrainingSetup) -> TrainingSetup:
    """A setup of which every seed holds out a tenth of train."""
    training = training_setup.training.model_copy(update={"held_out": 0.1})
    return dataclasses.replace(training_setup, scoring=None, training=training)


def test_every_seed_of_a_study_holds_out_the_asked_fraction(holding_out: TrainingSetup) -> None:
    splits = load_training_splits(holding_out, CPU)
    parts = [splits.of_seed(seed) for seed in (0, 1)]
    assert [(len(part.train), len(part.scoring)) for part in parts] == [(288, 32)] * 2
    assert (holding_out.num_train, holding_out.num_scoring) == (288, 32)
    assert parts[0].train.indices.tolist() != parts[1].train.indices.tolist()


def test_another_worker_holds_out_the_same(holding_out: TrainingSetup) -> None:
    one, other = (load_training_splits(holding_out, CPU).of_seed(5) for _ in range(2))
    assert one.train.indices.tolist() == other.train.indices.tolist()


def test_a_study_that_is_scored_on_dev_trains_on_all_of_train(
    training_setup: TrainingSetup, small_task: TaskData
) -> None:
    assert training_setup.num_train == len(small_task.train)
    assert training_setup.num_scoring == len(small_task.dev)
    parts = load_training_splits(training_setup, CPU).of_seed(1)
    assert len(parts.train) == len(small_task.train)
    assert parts.scoring.labels.tolist() == list(small_task.dev.labels)
