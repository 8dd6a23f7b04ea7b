"""What each seed trains on and what it is scored on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allocator.data.sources import TaskData
from allocator.training.splits import Splits
from tests.training.seeds import hold_out_parts


@pytest.fixture
def splits(tiny_splits: Splits, small_task: TaskData) -> Splits:
    """Splits in which every seed holds out a part of train."""
    return hold_out_parts(tiny_splits.train, small_task.task, small_task.train)


def test_a_seed_trains_on_all_that_it_does_not_hold_out(splits: Splits) -> None:
    parts = splits.of_seed(3)
    assert len(parts.scoring) == round(len(splits.train) / 4)
    everything = [*parts.train.labels.tolist(), *parts.scoring.labels.tolist()]
    assert sorted(everything) == sorted(splits.train.labels.tolist())
    held_out = set(range(len(splits.train))) - set(parts.train.indices.tolist())
    assert parts.scoring.lengths.tolist() == splits.train.lengths[sorted(held_out)].tolist()


def test_a_part_makes_the_batches_of_its_examples(splits: Splits) -> None:
    part = splits.of_seed(3).train
    places = [5, 0, 17]
    batch = part.make_batch(places, torch.device("cpu"))
    expected = splits.train.make_batch(part.indices[places].tolist(), torch.device("cpu"))
    assert batch.inputs.keys() == expected.inputs.keys()
    for name, values in expected.inputs.items():
        assert torch.equal(batch.inputs[name], values)
    assert batch.labels.tolist() == expected.labels.tolist() == part.labels[places].tolist()


def test_seeds_hold_out_parts_of_their_own(splits: Splits) -> None:
    chosen = [splits.of_seed(seed).train.indices.tolist() for seed in (0, 1, 0)]
    assert chosen[0] == chosen[2] != chosen[1]
    assert len(chosen[0]) == len(chosen[1])


def test_examples_that_are_given_to_score_on_are_those_of_all_seeds(tiny_splits: Splits) -> None:
    for seed in (0, 1):
        parts = tiny_splits.of_seed(seed)
        assert parts.scoring is tiny_splits.scoring
        assert np.array_equal(parts.train.indices, np.arange(len(tiny_splits.train)))


def test_splits_with_nothing_to_score_on_are_refused(tiny_splits: Splits) -> None:
    splits = Splits(train=tiny_splits.train, metric=tiny_splits.metric)
    with pytest.raises(ValueError, match=r"^splits need examples to score on, or a function that"):
        splits.of_seed(0)
