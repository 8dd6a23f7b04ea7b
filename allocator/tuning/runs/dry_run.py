"""Print what a search would do and cost, from a few training steps and without a study."""

from __future__ import annotations

import torch
from rich.console import Console

from allocator.progress.run_progress import RunProgress
from allocator.training.loop import EVALUATION_COST
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.runs.run_search import limit_packs, make_goal
from allocator.tuning.screen.header import print_header
from allocator.tuning.screen.spaces_table import describe_parameters
from allocator.tuning.space.space import Variant
from allocator.tuning.storage.storage_url import choose_storage_url
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.open_study import check_study
from allocator.workers.setup import load_frozen_backbone, load_training_splits
from allocator.workers.throughput import choose_slots, measure_packs, measure_throughput


def print_dry_run(progress: RunProgress, config: SearchConfig, plan: Plan[StudyConfig]) -> None:
    """Print the space, the allocations within the budget, and the estimated time and memory.

    Raises:
        StudyError: If the study's folder could not be used.
        StorageError: If the storage does not answer.
    """
    console = progress.console
    check_study(plan.recorded, plan.folder, choose_storage_url(config.storage, plan.folder))
    print_header(console, plan)
    space = plan.space
    for name, values in describe_parameters(space).items():
        console.print(f"  {name}: {values}", highlight=False, soft_wrap=True)
    for variant in space.variants:
        if variant.choice:
            console.print(" ".join(variant.choice.values()) + ":", highlight=False)
        _print_extremes(console, variant)
    progress.begin("timing packs")
    _print_estimated_cost(console, plan, make_goal(config, plan), config.slots)


def _print_extremes(console: Console, variant: Variant) -> None:
    feasible = variant.feasible
    for title, ranks in (
        ("smallest", feasible.find_smallest()),
        ("largest", feasible.find_largest()),
        ("uniform", feasible.find_uniform()),
    ):
        text = ", ".join(f"{name} {rank}" for name, rank in ranks.items())
        count = variant.shape.num_parameters(ranks)
        console.print(f"{title}: {text}; {count:,} parameters", highlight=False, soft_wrap=True)


def _print_estimated_cost(
    console: Console,
    plan: Plan[StudyConfig],
    goal: Goal,
    slots: int | None,
) -> None:
    """Train the baseline for a few steps, and extrapolate time and memory."""
    setup, training = plan.setup, plan.setup.training
    backbone = load_frozen_backbone(setup, torch.device(plan.devices.here))
    train = load_training_splits(setup, backbone.device).train
    if slots is None:
        limits = limit_packs(plan, goal)
        measured = measure_packs(
            *(setup.typical, setup.spec, backbone, train, training),
            most_slots=limits.most_slots,
            examples=limits.num_read,
        )
    else:
        measured = [measure_throughput(slots, setup.typical, setup.spec, backbone, train, training)]
    for throughput in measured:
        console.print(
            f"slots {throughput.slots}: {throughput.examples:,.0f} examples/s, "
            f"{throughput.memory_gib:.1f} GiB a worker",
            highlight=False,
        )
    chosen = choose_slots(measured)
    if not chosen.examples:
        console.print(f"{chosen.slots} slots do not fit into memory", highlight=False)
        return
    evaluated = training.num_boundaries * setup.num_scoring
    per_training = training.epochs * setup.num_train + EVALUATION_COST * evaluated
    examples = goal.trials * per_training
    minutes = examples / chosen.examples / len(plan.devices.names) / 60
    console.print(
        f"{goal.trials} trainings of {training.epochs} epoch{'s' * (training.epochs > 1)}, "
        f"{chosen.slots} at a time: "
        f"about {minutes:.0f} min without pruning",
        highlight=False,
    )
