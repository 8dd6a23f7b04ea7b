"""From what a user asked to what a search needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from allocator.config import LoraBudget
from allocator.tuning.plan.run_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search

MakeConfig = Callable[..., SearchConfig]


@pytest.mark.parametrize("targets", [None, ("query", "value"), ("query", "key", "value", "output")])
def test_a_budget_of_a_lora_is_the_number_of_its_parameters(
    targets: tuple[str, ...] | None, make_config: MakeConfig
) -> None:
    plan = plan_search(make_config(budget=LoraBudget(2), targets=targets, study=None))
    parameters = 2 * len(targets or ("query", "key", "value")) * 2 * (32 + 32)
    assert plan.recorded.budget == plan.space.feasible.budget == parameters
    assert plan.recorded.study == f"cola-bert-{parameters}"
