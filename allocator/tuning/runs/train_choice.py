"""Train a study's choice once more, on all of train, for the adapter that is handed over."""

from __future__ import annotations

import dataclasses

from rich.console import Console

from allocator.coordination.list_config import ListConfig
from allocator.coordination.train_list import train_list
from allocator.files.adapter_section import ListedAllocation
from allocator.files.study_folder import DELIVERED_FOLDER
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.delivered import (
    average_calibration,
    find_delivered_adapter,
    name_delivered,
)
from allocator.tuning.study.study import SearchStudy


def train_choice(study: SearchStudy, plan: Plan[StudyConfig], console: Console) -> None:
    """Train the choice on all of train, unless that was done.

    No examples are left to calibrate it on, so its calibration is the mean of those of the choice's
    other trainings. Dev, on which it is scored, calibrates nothing.

    Raises:
        StudyError: If no allocation was trained without a collapse, or workers keep dying.
        KeyboardInterrupt: If the user interrupts.
    """
    if study.config.select_on == "dev":
        return  # its trainings were on all of train
    chosen = study.select().best.allocation
    listed = ListedAllocation.from_allocation(
        study.space.find_variant(chosen.params).spec, study.space.make_allocation(chosen.params)
    )
    if not find_delivered_adapter(study, chosen).exists():
        console.print("\ntraining the choice on all of train", highlight=False)
    train_list(
        dataclasses.replace(plan.setup, scoring=plan.data.dev),
        ListConfig.of(study.config, {name_delivered(chosen): listed}),
        study.folder / DELIVERED_FOLDER,
        console,
        devices=plan.devices,
        slots=1,
        seeds=(study.config.training.seed,),
        keeps_adapters=True,
        calibration=average_calibration(chosen),
    )
