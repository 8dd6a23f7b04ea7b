import dataclasses
import math

import pytest
import torch
from torch import Tensor
from transformers import get_cosine_schedule_with_warmup

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.inputs.batches import Batch
from allocator.training.evaluation import evaluate_pack
from allocator.training.pack import TrainingPack
from allocator.training.splits import Splits
from allocator.training.task_loss import compute_task_loss
from allocator.training.training_slot import TrainingSlot, learning_rate_fraction

RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
ALLOCATION = Allocation(ranks=RANKS, learning_rate=2e-3, core_lr_multiplier=4.0)
# Full learning rates from the first step on, and no decay, so that steps can be foretold.
PLAIN = TrainingConfig(epochs=1, warmup=0.0, weight_decay=0.0, max_grad_norm=1e9)


@pytest.fixture
def batch(tiny_splits: Splits) -> Batch:
    return tiny_splits.train.make_batch(range(16), torch.device("cpu"))


def make(
    backbone: Backbone,
    spec: AdapterSpec,
    allocation: Allocation = ALLOCATION,
    config: TrainingConfig = PLAIN,
    total_steps: int = 1000,
    seed: int = 0,
) -> TrainingSlot:
    return TrainingSlot(allocation, spec, backbone, config, total_steps, seed=seed)


def step(backbone: Backbone, slot: TrainingSlot, batch: Batch) -> None:
    """Take one step in a pack of one slot."""
    pack = TrainingPack(backbone, width=1)
    pack.slots = [slot]
    pack.step(batch)


def values(slot: TrainingSlot) -> dict[str, Tensor]:
    parts = {"core": slot.adapter.zero_part, **slot.adapter.factors}
    head = {f"head.{name}": parameter for name, parameter in slot.head.trained_state_dict().items()}
    return {name: part.detach().clone() for name, part in (parts | head).items()}


def loss_of(backbone: Backbone, slot: TrainingSlot, splits: Splits) -> float:
    pack = TrainingPack(backbone, width=1)
    pack.slots = [slot]
    return evaluate_pack(pack, splits.train, splits.metric)[0].loss


def largest_move(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    return {name: (after[name] - before[name]).abs().max().item() for name in before}


@pytest.mark.parametrize(("total", "warmup"), [(100, 0.1), (37, 0.25), (10, 0.1), (500, 0.06)])
def test_the_schedule_is_transformers_cosine_with_a_warm_up_that_does_not_start_at_zero(
    total: int, warmup: float
) -> None:
    rising = round(warmup * total)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_cosine_schedule_with_warmup(optimizer, rising, total)
    reference = []
    for _ in range(total + 1):
        reference.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    fractions = [learning_rate_fraction(step, total, warmup) for step in range(total)]
    # While rising, a step has the rate that transformers gives the next one.
    assert fractions[:rising] == pytest.approx(reference[1 : rising + 1])
    assert fractions[rising:] == pytest.approx(reference[rising:total])


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert learning_rate_fraction(0, 50, 0.0) == 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_no_step_of_a_short_training_has_a_rate_outside_of_its_bounds(warmup: float) -> None:
    for total in range(1, 6):
        assert all(0 < learning_rate_fraction(step, total, warmup) <= 1 for step in range(total))


def test_the_loss_of_classes_is_cross_entropy() -> None:
    logits = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    expected = (math.log(1 + math.exp(2.0)) + math.log(2)) / 2
    assert compute_task_loss(logits, torch.tensor([0, 1])).item() == pytest.approx(expected)


def test_the_loss_of_scores_is_squared_error() -> None:
    logits = torch.tensor([[1.0], [3.0]])
    assert compute_task_loss(logits, torch.tensor([2.0, 0.0])).item() == pytest.approx((1 + 9) / 2)


def test_the_first_step_moves_the_core_by_lambda_times_the_base_rate_and_the_head_by_its_own(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    slot = make(tiny_backbone, tiny_spec)
    before = values(slot)
    step(tiny_backbone, slot, batch)
    moves = largest_move(before, values(slot))
    # Adam's first step is the learning rate, whatever the gradient.
    assert moves["core"] == pytest.approx(4.0 * 2e-3, rel=1e-3)
    assert moves["head.classifier.weight"] == pytest.approx(1e-3, rel=1e-3)
    assert {moves[mode] for mode in RANKS} == {0.0}  # a zero core gives its factors no gradient


def test_a_head_rate_of_the_allocation_takes_the_place_of_the_configurations(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    allocation = dataclasses.replace(ALLOCATION, head_learning_rate=5e-3)
    slot = make(tiny_backbone, tiny_spec, allocation)
    before = values(slot)
    step(tiny_backbone, slot, batch)
    moves = largest_move(before, values(slot))
    assert moves["head.classifier.weight"] == pytest.approx(5e-3, rel=1e-3)
    assert moves["core"] == pytest.approx(4.0 * 2e-3, rel=1e-3)


def test_dropout_of_the_allocation_takes_the_place_of_the_configurations(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    def loss(of_allocation: float | None, of_config: float) -> float:
        allocation = dataclasses.replace(ALLOCATION, dropout=of_allocation)
        config = TrainingConfig(epochs=1, warmup=0.0, dropout=of_config)
        slot = make(tiny_backbone, tiny_spec, allocation, config)
        for _ in range(4):
            step(tiny_backbone, slot, batch)
        return slot.compute_mean_loss()

    assert loss(0.3, 0.1) == loss(None, 0.3)
    assert loss(0.0, 0.3) == loss(None, 0.0)
    assert loss(None, 0.3) != loss(None, 0.0)


def test_the_second_step_moves_every_factor_by_its_multiple_of_the_base_rate(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    allocation = Allocation(
        ranks=RANKS, learning_rate=2e-3, core_lr_multiplier=4.0, lr_multipliers={"heads": 3.0}
    )
    slot = make(tiny_backbone, tiny_spec, allocation)
    step(tiny_backbone, slot, batch)
    before = values(slot)
    step(tiny_backbone, slot, batch)
    moves = largest_move(before, values(slot))
    # Adam with gradients 0 and g: bias-corrected moments 0.1 g / 0.19 and 0.001 g^2 / 0.001999.
    expected_step = (0.1 / 0.19) / math.sqrt(0.001 / 0.001999)
    rates = {mode: moves[mode] / expected_step for mode in RANKS}
    expected = dict.fromkeys(RANKS, 2e-3) | {"heads": 6e-3}
    assert rates == pytest.approx(expected, rel=2e-2)


def test_the_warm_up_holds_for_every_rate(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    config = TrainingConfig(epochs=1, warmup=0.5, weight_decay=0.0)
    slot = make(tiny_backbone, tiny_spec, config=config, total_steps=40)
    before = values(slot)
    step(tiny_backbone, slot, batch)
    moves = largest_move(before, values(slot))
    assert moves["core"] == pytest.approx(4.0 * 2e-3 / 20, rel=1e-3)
    assert moves["head.classifier.weight"] == pytest.approx(1e-3 / 20, rel=1e-3)


def test_the_gradient_of_adapter_and_head_together_is_clipped(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    norm, eps, rate = 1e-7, 1e-8, 1e-3
    config = TrainingConfig(epochs=1, warmup=0.0, weight_decay=0.0, max_grad_norm=norm)
    allocation = Allocation(ranks=RANKS, learning_rate=rate)
    slot = make(tiny_backbone, tiny_spec, allocation, config)
    before = values(slot)
    step(tiny_backbone, slot, batch)
    after = values(slot)
    squares = 0.0
    for name, start in before.items():
        share = (after[name] - start).abs().double() / rate  # |g| / (|g| + eps), by Adam
        squares += (eps * share / (1 - share)).square().sum().item()
    assert math.sqrt(squares) == pytest.approx(norm, rel=1e-2)


def test_weight_decay_pulls_every_trained_part_towards_zero(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    config = TrainingConfig(epochs=1, warmup=0.0, weight_decay=0.5)
    slot = make(tiny_backbone, tiny_spec, config=config)
    before = values(slot)
    step(tiny_backbone, slot, batch)
    after = values(slot)
    for mode in RANKS:  # the first gradient of a factor is zero, so decay alone moves it
        torch.testing.assert_close(after[mode], before[mode] * (1 - 2e-3 * 0.5))


def test_training_lowers_the_loss(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    config = TrainingConfig(epochs=1, warmup=0.1)
    slot = make(tiny_backbone, tiny_spec, config=config, total_steps=40)
    split = tiny_splits.train
    before = loss_of(tiny_backbone, slot, tiny_splits)
    for number in range(40):
        start = number % 5 * 64
        step(tiny_backbone, slot, split.make_batch(range(start, start + 64), torch.device("cpu")))
    assert loss_of(tiny_backbone, slot, tiny_splits) < before - 0.05


def test_training_leaves_the_backbone_and_the_head_it_was_copied_from_as_they_were(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    frozen = [*tiny_backbone.model.parameters(), *tiny_backbone.head.parameters()]
    before = [parameter.detach().clone() for parameter in frozen]
    slot = make(tiny_backbone, tiny_spec)
    for _ in range(3):
        step(tiny_backbone, slot, batch)
    assert all(torch.equal(old, new) for old, new in zip(before, frozen, strict=True))


def test_the_mean_loss_is_that_of_the_steps_so_far(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    slot = make(tiny_backbone, tiny_spec)
    losses = []
    for _ in range(3):
        tiny_backbone.sites.set_updates([slot.compute_pairs()])
        with torch.no_grad():
            logits = slot.head(tiny_backbone(batch.inputs), batch.inputs)
        losses.append(torch.nn.functional.cross_entropy(logits, batch.labels).item())
        step(tiny_backbone, slot, batch)
    assert slot.compute_mean_loss() == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_the_seed_alone_decides_what_dropout_hides(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, batch: Batch
) -> None:
    def losses(seed: int) -> float:
        config = TrainingConfig(epochs=1, warmup=0.0, dropout=0.3)
        slot = make(tiny_backbone, tiny_spec, config=config, seed=seed)
        for _ in range(4):
            step(tiny_backbone, slot, batch)
        return slot.compute_mean_loss()

    first = losses(1)
    torch.rand(10)  # somebody else draws from the global generator
    assert losses(1) == first
    without = make(tiny_backbone, tiny_spec, config=TrainingConfig(epochs=1, warmup=0.0), seed=1)
    for _ in range(4):
        step(tiny_backbone, without, batch)
    assert without.compute_mean_loss() != first
