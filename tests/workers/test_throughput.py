import dataclasses

import pytest

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.training.pack import TrainingPack
from allocator.training.splits import Splits
from allocator.workers import throughput
from allocator.workers.throughput import Throughput, choose_slots, measure_packs, measure_throughput

RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
ALLOCATION = Allocation(ranks=RANKS, learning_rate=1e-3)
CONFIG = TrainingConfig(epochs=1)


def test_throughput_is_measured_on_real_steps(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    result = measure_throughput(3, ALLOCATION, tiny_spec, tiny_backbone, tiny_splits.train, CONFIG)
    assert result.slots == 3
    assert result.examples > 0
    assert 0.1 < result.memory_gib < 24


@pytest.mark.parametrize(
    ("rates", "measured", "chosen"),
    [
        ({1: 100, 2: 180, 4: 300, 8: 340, 16: 350}, 5, 8),
        ({1: 100, 2: 101, 4: 300, 8: 310, 16: 320}, 5, 4),  # one doubling may gain nothing
        ({1: 100, 2: 105, 4: 107}, 3, 1),
        ({1: 100, 2: 120, 4: 140, 8: 160, 16: 180}, 5, 16),
        ({1: 100, 2: 150, 4: 0}, 3, 2),  # four do not fit
    ],
)
def test_packs_grow_while_doubling_pays_and_the_smallest_of_the_fast_is_chosen(
    rates: dict[int, float],
    measured: int,
    chosen: int,
    monkeypatch: pytest.MonkeyPatch,
    tiny_backbone: Backbone,
    tiny_spec: AdapterSpec,
    tiny_splits: Splits,
) -> None:
    def scripted(slots: int, *_: object) -> Throughput:
        return Throughput(slots=slots, examples=rates[slots], memory_gib=1.0)

    monkeypatch.setattr(throughput, "measure_throughput", scripted)
    results = measure_packs(ALLOCATION, tiny_spec, tiny_backbone, tiny_splits.train, CONFIG)
    assert len(results) == measured
    assert choose_slots(results).slots == chosen


def test_an_epoch_of_one_batch_is_enough_to_measure(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    large = CONFIG.model_copy(update={"batch_size": 1000})
    result = measure_throughput(1, ALLOCATION, tiny_spec, tiny_backbone, tiny_splits.train, large)
    assert result.examples > 0


def test_a_slow_model_is_not_measured_for_long(
    tiny_backbone: Backbone,
    tiny_spec: AdapterSpec,
    tiny_splits: Splits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[int] = []

    def slow(slots: int, *_: object) -> Throughput:
        measured.append(slots)
        return Throughput(slots=slots, examples=100.0 * slots, memory_gib=1.0)

    monkeypatch.setattr(throughput, "measure_throughput", slow)
    monkeypatch.setattr(throughput, "_TIME_LIMIT", -1.0)
    measure_packs(ALLOCATION, tiny_spec, tiny_backbone, tiny_splits.train, CONFIG)
    assert measured == [1]


def test_a_backbone_that_takes_one_trial_at_a_time_is_measured_with_one(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    backbone = dataclasses.replace(tiny_backbone, packs=False)
    assert TrainingPack(backbone, width=8).width == 1
    (result,) = measure_packs(ALLOCATION, tiny_spec, backbone, tiny_splits.train, CONFIG)
    assert result.slots == 1
    assert result.examples > 0


def test_packs_are_not_measured_for_longer_than_a_tenth_of_what_will_train(
    tiny_spec: AdapterSpec, tiny_backbone: Backbone, tiny_splits: Splits
) -> None:
    arguments = (ALLOCATION, tiny_spec, tiny_backbone, tiny_splits.train, CONFIG)
    assert [one.slots for one in measure_packs(*arguments, examples=1)] == [1]
