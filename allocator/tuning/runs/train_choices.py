"""Train a study's choices once more, on all of train, for the adapters that are handed over."""

from __future__ import annotations

import dataclasses

from allocator.coordination.list_config import ListConfig
from allocator.coordination.train_list import train_list
from allocator.files.adapter_section import ListedAllocation
from allocator.files.study_folder import DELIVERED_FOLDER
from allocator.progress.run_progress import RunProgress
from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.loggers.list_runs import ListRuns, RunNames
from allocator.tuning.loggers.open_loggers import Loggers
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.runs.run_parts import name_choice_part
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.delivered import (
    average_calibration,
    find_trained_on_all,
    list_delivery_seeds,
    name_delivered,
)
from allocator.tuning.study.study import SearchStudy

_RUNS = RunNames(purpose="delivered", split="dev")  # in loggers


def train_choices(
    study: SearchStudy, plan: Plan[StudyConfig], loggers: Loggers, progress: RunProgress
) -> None:
    """Train the choice of every budget on all of train, unless that was done.

    No examples are left to calibrate one on, so its calibration is the mean of those of its other
    trainings. Dev, on which it is scored, calibrates nothing.

    Raises:
        StudyError: If no allocation was trained without a collapse, or workers keep dying.
        KeyboardInterrupt: If the user interrupts.
    """
    if study.config.select_on == "dev":
        return  # its trainings were on all of train
    chosen: dict[str, TriedAllocation] = {}
    for selection in reversed(study.select_front()):
        chosen.setdefault(name_delivered(selection.best.allocation), selection.best.allocation)
    for place, (name, allocation) in enumerate(chosen.items()):
        size = study.space.num_parameters(allocation.params)
        within = f" of {size:,} parameters" if len(chosen) > 1 else ""
        for seed in list_delivery_seeds(study):
            if find_trained_on_all(study, allocation) is not None:
                break
            progress.begin("starting workers", name_choice_part(place))
            _train_choice(
                *(study, plan, loggers, progress, name, allocation, seed),
                phase=f"training the choice{within} on all of train",
            )


def _train_choice(
    study: SearchStudy,
    plan: Plan[StudyConfig],
    loggers: Loggers,
    progress: RunProgress,
    name: str,
    allocation: TriedAllocation,
    seed: int,
    *,
    phase: str,
) -> None:
    """Train a choice with one seed, unless that was done, and record how it ended."""
    params = allocation.params
    listed = ListedAllocation.from_allocation(
        study.space.find_variant(params).spec, study.space.make_allocation(params)
    )
    train_list(
        dataclasses.replace(plan.setup, scoring=plan.data.dev),
        ListConfig.of(study.config, {name: listed}),
        study.folder / DELIVERED_FOLDER,
        progress,
        devices=plan.devices,
        slots=1,
        seeds=(seed,),
        phase=phase,
        keeps_adapters=True,
        calibration=average_calibration(allocation),
        watch=lambda trials: ListRuns(trials, loggers, _RUNS),
    )
