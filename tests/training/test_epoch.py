"""The steps of an epoch for the trainings of several seeds."""

from __future__ import annotations

import pytest
import torch

from allocator.config import TrainingConfig
from allocator.data.sources import TaskData
from allocator.inputs.batches import order_epoch
from allocator.training.epoch import Epoch
from allocator.training.splits import Splits
from tests.training.seeds import hold_out_parts

CPU = torch.device("cpu")


@pytest.fixture
def splits(tiny_splits: Splits, small_task: TaskData) -> Splits:
    return hold_out_parts(tiny_splits.train, small_task.task, small_task.train)


@pytest.mark.parametrize(
    ("batch_size", "per_epoch", "expected"),
    [(32, 1, [10]), (32, 2, [5, 5]), (107, 3, [1, 1, 1]), (46, 3, [2, 3, 2])],
)
def test_boundaries_divide_an_epoch_evenly_and_end_with_it(
    batch_size: int, per_epoch: int, expected: list[int], tiny_splits: Splits
) -> None:
    config = TrainingConfig(epochs=1, batch_size=batch_size, boundaries_per_epoch=per_epoch)
    epoch = Epoch(tiny_splits, config, CPU)
    portions = [epoch.make_portion(number, [0]) for number in range(per_epoch)]
    assert epoch.num_steps == sum(expected)
    assert [len(portion) for portion in portions] == expected
    assert sum(len(batch.labels) for portion in portions for batch in portion) == 320


def test_more_boundaries_than_steps_are_refused(tiny_splits: Splits) -> None:
    config = TrainingConfig(epochs=1, batch_size=200, boundaries_per_epoch=4)
    with pytest.raises(ValueError, match="an epoch of 2 steps cannot have 4 boundaries"):
        Epoch(tiny_splits, config, CPU)


def test_every_seed_has_a_block_of_its_own_examples_in_every_step(splits: Splits) -> None:
    seeds, config = (3, 0, 7), TrainingConfig(batch_size=16)
    batches = Epoch(splits, config, CPU).make_portion(0, seeds)
    for place, seed in enumerate(seeds):
        part = splits.of_seed(seed).train
        order = order_epoch(part.lengths, 16, seed=seed)
        assert len(order) == len(batches)
        for indices, batch in zip(order, batches, strict=True):
            own = part.make_batch(indices, CPU)
            block = slice(place * len(indices), (place + 1) * len(indices))
            assert batch.labels[block].tolist() == own.labels.tolist()
            width = own.inputs["input_ids"].shape[1]
            assert torch.equal(batch.inputs["input_ids"][block, :width], own.inputs["input_ids"])
            assert (batch.inputs["input_ids"][block, width:] == 1).all()  # padding
            assert width == batch.widths[place] or batch.widths[place] is None


def test_an_epoch_keeps_its_batches_while_the_seeds_stay_the_same(splits: Splits) -> None:
    epoch = Epoch(splits, TrainingConfig(batch_size=16), CPU)
    first = epoch.make_portion(0, [0, 1])
    assert all(a is b for a, b in zip(first, epoch.make_portion(0, [0, 1]), strict=True))
    other = epoch.make_portion(0, [0, 2])
    assert [len(batch.labels) for batch in other] == [len(batch.labels) for batch in first]
    assert [b.labels.tolist() for b in other] != [b.labels.tolist() for b in first]
