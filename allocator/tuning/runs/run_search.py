"""The whole search, from a prepared configuration to the files that use its result."""

from __future__ import annotations

from functools import partial

import optuna
from rich.console import Console

from allocator.coordination.coordinator import Coordinator
from allocator.coordination.interrupts import Interrupts
from allocator.errors import StudyError
from allocator.tuning.figures.output import draw_and_print
from allocator.tuning.figures.study_figures import draw_study
from allocator.tuning.plan.prepare import PreparedSearch
from allocator.tuning.runs.confirm import confirm_best
from allocator.tuning.screen.header import print_header
from allocator.tuning.screen.result_table import print_result
from allocator.tuning.screen.watchers import watch_search
from allocator.tuning.study.open_study import open_study
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.write_best import WrittenBest, write_best


def run_search(
    prepared: PreparedSearch,
    console: Console,
    *,
    trials: int,
    slots: int | None,
    timeout: float | None,
    confirm_seeds: int = 0,
) -> WrittenBest | None:
    """Search until the study has its trials, confirm the best with other seeds, and export it.

    An interrupt (Ctrl-C, or SIGTERM) ends the search; what was told so far is kept and exported.

    Args:
        prepared: What is searched.
        console: Where it is shown.
        trials: Finished trials that the study is to have in all.
        slots: Trials that a worker trains together; None takes what the study has recorded, or
            measures.
        timeout: Seconds after which no trial is started; what is confirmed comes after.
        confirm_seeds: Seeds to train the best allocations again with; 0 confirms nothing.

    Returns:
        What was exported, or None where the search was interrupted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    interrupts = Interrupts()
    with open_study(prepared.study, prepared.space, prepared.folder, prepared.url) as study:
        print_header(console, prepared)
        try:
            with interrupts.handled(), watch_search(console, study, trials) as watcher:
                Coordinator(
                    study,
                    partial(prepared.devices.launch, prepared.worker),
                    prepared.devices.names,
                    watcher,
                    slots=slots,
                    waiting=interrupts.waiting,
                ).run(trials=trials, timeout=timeout)
            if confirm_seeds:
                confirm_best(
                    study,
                    prepared.worker,
                    prepared.data.dev,
                    console,
                    devices=prepared.devices,
                    seeds=confirm_seeds,
                )
        except KeyboardInterrupt:
            _export_what_there_is(study, console, trials)
            return None
        exported = write_best(study)
        print_result(console, study, exported, prepared.url)
        draw_and_print(console, lambda warn: draw_study(study, exported.selection, warn=warn))
    return exported


def _export_what_there_is(study: SearchStudy, console: Console, trials: int) -> None:
    console.print(
        f"\ninterrupted: {study.num_finished} of {trials} trials are finished and kept; "
        "run the same command to go on",
        highlight=False,
        soft_wrap=True,
    )
    try:
        exported = write_best(study)
    except StudyError:
        return  # no trial was completed yet
    console.print(f"best so far: {exported.path}", highlight=False, soft_wrap=True)
