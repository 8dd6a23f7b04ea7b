import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import AdapterConfig, TrainingConfig
from allocator.errors import ModelError
from allocator.inputs.batches import Batch
from allocator.inputs.tokens import TokenBatch
from allocator.models.model_source import ModelSource
from allocator.training.pack import TrainingPack
from allocator.training.splits import Splits
from allocator.training.training_slot import TrainingSlot

CPU = torch.device("cpu")
RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
ALLOCATION = Allocation(ranks=RANKS, learning_rate=2e-3, core_lr_multiplier=4.0)
WILD = Allocation(ranks=RANKS, learning_rate=1e30, core_lr_multiplier=1e8)


@pytest.fixture
def batches(tiny_splits: Splits) -> list[Batch]:
    return [tiny_splits.train.make_batch(range(i, i + 8), CPU) for i in range(0, 64, 8)]


def make_slots(backbone: Backbone, spec: AdapterSpec) -> list[TrainingSlot]:
    """Build slots of different ranks, rates, seeds, lengths and kinds of adapter."""
    lora = AdapterSpec(
        shape=AdapterShape(
            construction="matrix", factorization="matrix", backbone=spec.shape.backbone
        ),
        config=AdapterConfig(),
    )
    other = Allocation(ranks=RANKS | {"input": 1, "depth": 1}, learning_rate=1e-2)
    config = TrainingConfig(epochs=1, dropout=0.1)
    return [
        TrainingSlot(ALLOCATION, spec, backbone, config, 20, seed=0),
        TrainingSlot(other, spec, backbone, config, 9, seed=3),
        TrainingSlot(
            Allocation(ranks={"rank": 5}, learning_rate=1e-3), lora, backbone, config, 14, seed=0
        ),
    ]


def train(
    slots: list[TrainingSlot], backbone: Backbone, batches: list[Batch], **options: int
) -> TrainingPack:
    pack = TrainingPack(backbone, width=options.get("width", len(slots)))
    pack.slots = slots
    for batch in batches:
        pack.step(batch)
    return pack


def parameters(slot: TrainingSlot) -> list[Tensor]:
    return [
        p.detach() for p in [*slot.adapter.parameters(), *slot.head.trained_state_dict().values()]
    ]


def test_a_packed_trial_trains_as_it_does_alone(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    packed, alone = (make_slots(tiny_backbone, tiny_spec) for _ in range(2))
    for number in range(len(batches)):
        train(packed, tiny_backbone, [batches[number]])
        for slot in alone:
            train([slot], tiny_backbone, [batches[number]])
        together, apart = ([s.loss_sum.item() for s in slots] for slots in (packed, alone))
        assert together == pytest.approx(apart, rel=1e-5)
    for slot, reference in zip(packed, alone, strict=True):
        torch.testing.assert_close(parameters(slot), parameters(reference), rtol=1e-3, atol=1e-5)


def test_trials_with_a_head_rate_and_dropout_of_their_own_train_as_they_do_alone(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    def slots() -> list[TrainingSlot]:
        own = [(None, None), (1e-2, None), (None, 0.0), (3e-4, 0.3), (None, 0.1)]
        return [
            TrainingSlot(
                dataclasses.replace(ALLOCATION, head_learning_rate=rate, dropout=dropout),
                tiny_spec,
                tiny_backbone,
                TrainingConfig(epochs=1, dropout=0.2),
                20,
                seed=0,
            )
            for rate, dropout in own
        ]

    packed, alone = slots(), slots()
    train(packed, tiny_backbone, batches)
    for slot in alone:
        train([slot], tiny_backbone, batches)
    together, apart = ([s.loss_sum.item() for s in group] for group in (packed, alone))
    assert together == pytest.approx(apart, rel=1e-5)
    assert len({round(loss, 4) for loss in together}) == len(together)
    for slot, reference in zip(packed, alone, strict=True):
        torch.testing.assert_close(parameters(slot), parameters(reference), rtol=1e-3, atol=1e-5)


def test_a_packed_trial_in_half_precision_trains_about_as_it_does_alone(
    tiny_source: ModelSource, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    targets = tiny_spec.shape.backbone.targets
    backbone = load_backbone(tiny_source, targets, num_labels=2, precision="bfloat16", device=CPU)
    packed, alone = (make_slots(backbone, tiny_spec) for _ in range(2))
    train(packed, backbone, batches)
    for slot in alone:
        train([slot], backbone, batches)
    together, apart = ([s.compute_mean_loss() for s in slots] for slots in (packed, alone))
    assert together == pytest.approx(apart, rel=1e-2)


def test_a_neighbour_that_diverges_changes_nothing(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    beside, alone = (make_slots(tiny_backbone, tiny_spec)[0] for _ in range(2))
    wild = TrainingSlot(WILD, tiny_spec, tiny_backbone, TrainingConfig(epochs=1), 20, seed=0)
    pack = train([wild, beside], tiny_backbone, batches)
    train([alone], tiny_backbone, batches)
    assert pack.list_diverged() == [wild]
    assert not math.isfinite(wild.loss_sum.item())
    assert beside.loss_sum.item() == pytest.approx(alone.loss_sum.item(), rel=1e-5)


def test_a_neighbour_that_leaves_or_comes_changes_nothing(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    slots = make_slots(tiny_backbone, tiny_spec)
    alone = make_slots(tiny_backbone, tiny_spec)[0]
    train(slots[:2], tiny_backbone, batches[:3])
    train(slots[:1], tiny_backbone, batches[3:5])
    train([slots[2], slots[0]], tiny_backbone, batches[5:])
    train([alone], tiny_backbone, batches)
    assert slots[0].loss_sum.item() == pytest.approx(alone.loss_sum.item(), rel=1e-5)


def test_slots_that_take_turns_train_as_they_do_together(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    together, turns = (make_slots(tiny_backbone, tiny_spec) for _ in range(2))
    train(together, tiny_backbone, batches)
    train(turns, tiny_backbone, batches, width=2)
    assert [s.loss_sum.item() for s in turns] == pytest.approx(
        [s.loss_sum.item() for s in together], rel=1e-5
    )


class NarrowMemory(TrainingPack):
    """A pack on a device whose memory holds `fits` slots."""

    fits = 1

    def compute_hidden(
        self,
        slots: Sequence[TrainingSlot],
        batch: Batch,
        *,
        blocks: Sequence[int] | None = None,
        dropout: Sequence[float] = (),
        generators: Sequence[torch.Generator] = (),
        widths: Sequence[int | None] | None = None,
    ) -> Tensor:
        hidden = super().compute_hidden(
            slots,
            batch,
            blocks=blocks,
            dropout=dropout,
            generators=generators,
            widths=widths,
        )
        if len(slots) > self.fits:
            raise torch.OutOfMemoryError("out of memory")
        return hidden


def test_without_memory_for_all_a_pack_halves_and_no_trial_is_lost(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    # With dropout: what a pass drops must not depend on passes that broke off.
    config = TrainingConfig(epochs=1, dropout=0.1)
    *slots, alone = (
        TrainingSlot(ALLOCATION, tiny_spec, tiny_backbone, config, 20, seed=0) for _ in range(6)
    )
    pack = NarrowMemory(tiny_backbone, width=5)
    pack.slots = slots
    for batch in batches:
        pack.step(batch)
    assert pack.width == 1
    reference = TrainingPack(tiny_backbone, width=1)
    reference.slots = [alone]
    for batch in batches:
        reference.step(batch)
    assert {slot.steps for slot in slots} == {len(batches)}
    assert [slot.loss_sum.item() for slot in slots] == pytest.approx(
        [alone.loss_sum.item()] * 5, rel=1e-5
    )


def test_memory_that_runs_out_in_an_optimizer_step_repeats_no_step(
    tiny_backbone: Backbone,
    tiny_spec: AdapterSpec,
    batches: list[Batch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = make_slots(tiny_backbone, tiny_spec)
    pack = TrainingPack(tiny_backbone, width=len(slots))
    pack.slots = slots

    def run_out(_loss: Tensor) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(slots[1], "update", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        pack.step(batches[0])
    assert [slot.steps for slot in slots] == [1, 0, 0]


def test_a_trial_that_does_not_fit_alone_is_an_error(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    pack = NarrowMemory(tiny_backbone, width=2)
    pack.fits = 0
    pack.slots = make_slots(tiny_backbone, tiny_spec)[:2]
    with pytest.raises(
        ModelError, match=r"^one trial does not fit into memory; lower --batch-size"
    ):
        pack.step(batches[0])


def test_another_failure_is_not_taken_for_one_of_memory(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batches: list[Batch]
) -> None:
    pack = TrainingPack(tiny_backbone, width=2)
    pack.slots = make_slots(tiny_backbone, tiny_spec)[:2]
    broken = TokenBatch(
        inputs={"input_ids": batches[0].inputs["input_ids"]}, labels=torch.zeros(3).long()
    )
    with pytest.raises(ValueError, match="batch_size"):
        pack.step(broken)
