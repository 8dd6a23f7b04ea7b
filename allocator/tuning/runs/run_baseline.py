"""Train a study's baseline by itself, and other kinds of adapters if asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.feasible_set import FeasibleSet
from allocator.coordination.list_config import ListConfig, SharedConfig
from allocator.coordination.records import Records
from allocator.coordination.train_list import train_list
from allocator.files.adapter_section import ListedAllocation
from allocator.files.folder_lock import create_and_lock_study_folder
from allocator.files.study_folder import UNIFORM, baseline_folder
from allocator.progress.run_progress import RunProgress
from allocator.tuning.figures.study_figures import make_baseline_figures
from allocator.tuning.loggers.list_runs import ListRuns, RunNames
from allocator.tuning.loggers.open_loggers import open_loggers
from allocator.tuning.loggers.study_runs import BASELINE_KEY, name_run
from allocator.tuning.plan.run_config import BaselineConfig
from allocator.tuning.plan.search_plan import Plan, plan_space
from allocator.tuning.rendering.figure_files import draw_and_print, save_figures
from allocator.tuning.runs.run_parts import DRAWING, FIGURES, TRAININGS, list_parts
from allocator.tuning.screen.baseline_table import print_baseline
from allocator.tuning.screen.header import print_header
from allocator.tuning.space.rivals import make_kind_spec
from allocator.tuning.space.space import make_baseline_params
from allocator.tuning.storage.trial_memory import BASELINE


def run_baseline(config: BaselineConfig, progress: RunProgress) -> Records:
    """Train what is missing from a study's baseline folder, and print results and measurements.

    Raises:
        AllocatorError: For every mistake that can be known before anything trains.
        KeyboardInterrupt: If the user interrupts; what has ended is recorded.
    """
    console = progress.console
    plan = plan_space(config, lambda shared, _file, _space: shared, progress.begin)
    allocations = dict(_list_allocations(config, plan))
    folder = baseline_folder(plan.folder, config.rank, is_capped=not config.uncapped)
    print_header(console, plan)
    # Only now, so that a mistake found while planning leaves no folder. The lock is the study's,
    # because its search writes into the same baseline folder.
    with (
        create_and_lock_study_folder(plan.folder),
        open_loggers(config.log, plan.folder, console) as loggers,
    ):
        progress.expect(list_parts(len(allocations)))
        progress.begin("deciding what to train", TRAININGS)
        records = train_list(
            plan.setup,
            ListConfig.of(plan.recorded, allocations),
            folder,
            progress,
            devices=plan.devices,
            slots=config.slots,
            seeds=(config.training.seed,),
            is_measured=True,
            keeps_adapters=True,
            watch=lambda trials: ListRuns(trials, loggers, _name_runs(config, folder)),
        )
    print_baseline(console, records, allocations)
    progress.begin(DRAWING, FIGURES)
    figures = make_baseline_figures(records)
    draw_and_print(console, lambda warn: [save_figures(folder, figures, warn=warn)])
    return records


def _name_runs(config: BaselineConfig, folder: Path) -> RunNames:
    """Name the runs by their folder; the search's own baseline as the search names it."""

    def find_own(name: str, seed: int) -> tuple[str, str] | None:
        is_own = name == UNIFORM and config.rank is None
        return (BASELINE_KEY, name_run(0, BASELINE, BASELINE, seed)) if is_own else None

    return RunNames(purpose=folder.name, others=find_own)


def _list_allocations(
    config: BaselineConfig, plan: Plan[SharedConfig]
) -> Iterator[tuple[str, ListedAllocation]]:
    """List the uniform-rank baseline and the other kinds that were asked for, by name."""
    space = plan.space
    uniform = space.make_allocation(make_baseline_params(space))
    specs: dict[str, AdapterSpec] = {UNIFORM: plan.setup.spec}
    for kind in config.also:
        specs[kind] = make_kind_spec(kind, space.shape.backbone, scaling=plan.space_file.scaling)
    for name, spec in specs.items():
        # The same ranks as the first trial of a search, which keep to the space's ranges.
        if name == UNIFORM and config.rank is None:
            ranks = dict(uniform.ranks)
        else:
            ranks = _choose_ranks(spec.shape, config, space.feasible.budget)
        allocation = Allocation(
            ranks=ranks,
            learning_rate=uniform.learning_rate,
            core_lr_multiplier=uniform.core_lr_multiplier,
            head_learning_rate=uniform.head_learning_rate,
            dropout=uniform.dropout,
        )
        yield name, ListedAllocation.from_allocation(spec, allocation)


def _choose_ranks(shape: AdapterShape, config: BaselineConfig, budget: int) -> dict[str, int]:
    """Return the rank that was asked for in every mode, or the largest within the budget."""
    bounds = shape.rank_bounds
    if config.rank is None:
        choices = {name: range(1, bound + 1) for name, bound in bounds.items()}
        return FeasibleSet(shape, choices, budget).find_uniform()
    if config.uncapped:
        # Published baselines give every mode the same rank, even beyond what a mode can use.
        return dict.fromkeys(bounds, config.rank)
    return {name: min(config.rank, bound) for name, bound in bounds.items()}
