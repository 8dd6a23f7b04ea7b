"""From what a user asked to what a search will run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.config import LoraBudget, TrainingConfig
from allocator.errors import AllocatorError, SpaceError
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.space.space import make_baseline_params

MakeConfig = Callable[..., SearchConfig]


@pytest.mark.parametrize("targets", [None, ("query", "value"), ("query", "key", "value", "output")])
def test_a_budget_of_a_lora_is_the_number_of_its_parameters(
    targets: tuple[str, ...] | None, make_config: MakeConfig
) -> None:
    plan = plan_search(make_config(budget=LoraBudget(2), targets=targets, study=None))
    parameters = 2 * len(targets or ("query", "key", "value")) * 2 * (32 + 32)
    assert plan.recorded.budget == plan.space.feasible.budget == parameters
    assert plan.recorded.study == plan.folder.name == f"cola-bert-{parameters}"


def test_targets_of_different_heads_are_planned_and_counted_each_by_its_own_width(
    make_config: MakeConfig, tiny_llama: Path
) -> None:
    plan = plan_search(make_config(model=str(tiny_llama), space="lora", budget=1_000, rivals=None))
    # Two layers of a query of 32 to 32, and a key and a value of 32 to 16.
    assert plan.space.num_parameters(make_baseline_params(plan.space)) == 3 * 2 * (64 + 48 + 48)
    assert plan.recorded.backbone.target_heads == (4, 2, 2)
    assert plan.setup.path.packs


def test_a_space_that_stacks_targets_of_different_heads_is_refused(
    make_config: MakeConfig, tiny_llama: Path
) -> None:
    with pytest.raises(SpaceError, match="choose a space whose tensors have one target each"):
        plan_search(make_config(model=str(tiny_llama)))


def test_a_limit_makes_a_study_of_its_own_that_records_it(make_config: MakeConfig) -> None:
    whole = plan_search(make_config(study=None))
    limited = plan_search(make_config(study=None, limit=40))
    assert (whole.folder.name, whole.recorded.task.limit) == ("cola-bert-600", None)
    assert (limited.folder.name, limited.recorded.task.limit) == ("cola-bert-600-limit-40", 40)
    assert (limited.setup.num_train, limited.setup.num_scoring) == (30, 10)
    assert limited.recorded.task.fingerprint != whole.recorded.task.fingerprint


def test_workers_get_the_training_configuration_that_is_recorded(make_config: MakeConfig) -> None:
    training = TrainingConfig(epochs=5, dropout=0.25, head_learning_rate=3e-4)
    plan = plan_search(make_config(training=training))
    assert plan.recorded.training == plan.setup.training == training


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("{dropout: {low: 0.1, high: 1}}", "dropout must be below 1, got 1"),
        ("{dropout: 1.5}", "dropout must be below 1, got 1.5"),
        ("{epochs: 3}", "unknown parameter 'epochs': known are "),
        ("{dropuot: 0.1}", "unknown parameter 'dropuot': did you mean 'dropout'?"),
    ],
)
def test_a_space_may_search_head_learning_rate_and_dropout_and_nothing_else_of_the_training(
    parameters: str, message: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"construction: att_qkv_depth\nfactorization: tucker\nparameters: {parameters}\n"
    )
    with pytest.raises(AllocatorError) as caught:
        plan_search(make_config(space=str(file)))
    assert str(caught.value).startswith(message)


def test_an_epoch_must_have_a_step_for_each_boundary(make_config: MakeConfig) -> None:
    examples = plan_search(make_config()).setup.num_train
    steps = -(-examples // 32)
    plan_search(make_config(training=TrainingConfig(boundaries_per_epoch=steps)))
    rule = f"--boundaries-per-epoch can be at most {steps}, the steps of an epoch of {examples} ex"
    with pytest.raises(AllocatorError, match=f"^{rule}.*, got {steps + 1}; lower it, or --batch"):
        plan_search(make_config(training=TrainingConfig(boundaries_per_epoch=steps + 1)))
