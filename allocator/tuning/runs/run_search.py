"""The whole search, from a plan to the files that hold its result."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import optuna
from rich.console import Console
from rich.markup import escape

from allocator.coordination.coordinator import Coordinator
from allocator.coordination.interrupts import Interrupts
from allocator.coordination.protocols import Watcher
from allocator.coordination.watcher_group import WatcherGroup
from allocator.errors import CheckpointError, StudyError, TaskError
from allocator.progress.run_progress import RunProgress
from allocator.tuning.loggers.open_loggers import Loggers, open_loggers
from allocator.tuning.loggers.result_tables import make_study_table
from allocator.tuning.loggers.study_runs import StudyRuns
from allocator.tuning.plan.asked_command import write_search_command
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.rendering.figure_files import draw_and_print
from allocator.tuning.report.study_report import write_report
from allocator.tuning.runs.run_parts import DRAWING, FIGURES, TRAININGS, list_search_parts
from allocator.tuning.runs.score_verdict import score_verdict
from allocator.tuning.runs.train_choices import train_choices
from allocator.tuning.screen.header import print_header
from allocator.tuning.screen.result_table import print_result
from allocator.tuning.screen.watchers import SearchWatcher
from allocator.tuning.storage.run_memory import Run, write_run
from allocator.tuning.storage.storage_url import choose_storage_url
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.next_commands import list_next_commands
from allocator.tuning.study.open_study import open_study
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.write_front import WrittenFront, write_front
from allocator.workers.setup import TrainingSetup


def run_search(
    config: SearchConfig, plan: Plan[StudyConfig], progress: RunProgress
) -> WrittenFront | None:
    """Search until the study has all trials, score its choice on dev, and write it.

    An interrupt (Ctrl-C, or SIGTERM) ends the search; what has finished is kept and written.

    Args:
        config: The options of the command.
        plan: The plan made from it.
        progress: Where the search is shown.

    Returns:
        What was written, or None if the search was interrupted.
    """
    # Optuna logs every trial, which would break the table that a watcher redraws.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = choose_storage_url(config.storage, plan.folder)
    goal, console = make_goal(config, plan), progress.console
    progress.begin("opening the study")
    progress.expect(list_search_parts(goal, plan))
    with (
        open_study(plan.recorded, plan.space, plan.folder, url, goal) as study,
        # Under the study's lock, or two runs of one command would log side by side.
        open_loggers(config.log, plan.folder, console) as loggers,
    ):
        run = Run(command=write_search_command(config), devices=tuple(plan.devices.names))
        write_run(study.study, run)
        print_header(console, plan)
        try:
            is_finished = _train_until_finished(config, plan, study, loggers, progress)
            if is_finished:  # or the next run may choose another
                train_choices(study, plan, loggers, progress)
            _score_verdict(study, plan, progress)
        except KeyboardInterrupt:  # comes only while nothing is half written
            _write_what_has_finished(study, console)
            return None
        progress.begin("writing the result", FIGURES)
        front = write_front(study)
        effects = study.compute_effects()
        commands = list_next_commands(study, front.best.path, url)
        print_result(console, study, front, effects, commands)
        loggers.log_table(make_study_table(study, front))
        # Last: a figure that fails must not cost the result.
        progress.begin(DRAWING)
        draw_and_print(
            console, lambda warn: write_report(study, front, effects, commands, warn=warn)
        )
    return front


def _train_until_finished(
    config: SearchConfig,
    plan: Plan[StudyConfig],
    study: SearchStudy,
    loggers: Loggers,
    progress: RunProgress,
) -> bool:
    """Train until the study has all trials; return False if time was up before."""
    interrupts, console = Interrupts(), progress.console
    setup = limit_packs(plan, study.goal)
    watchers: list[Watcher] = [SearchWatcher(progress, study, TRAININGS, config.timeout)]
    if config.log:
        watchers.append(StudyRuns(study, loggers))
    with interrupts.handled():
        is_finished = Coordinator(
            study,
            partial(plan.devices.launch, setup),
            plan.devices.names,
            WatcherGroup(*watchers),
            slots=config.slots,
            waiting=interrupts.waiting,
        ).run(timeout=config.timeout)
    progress.keep_table()
    if not is_finished:
        _print_line(
            console,
            f"time is up: {study.num_finished} of {study.goal.trials} trials are finished and "
            "kept; run the same command to go on",
        )
    elif study.num_finished < study.goal.trials:
        _print_line(
            console,
            f"{study.num_finished} of {study.goal.trials} trials were needed: the others are kept "
            "to prove another choice",
        )
    return is_finished


def _score_verdict(study: SearchStudy, plan: Plan[StudyConfig], progress: RunProgress) -> None:
    """Score the verdict; what keeps it from being scored must not cost the result."""
    try:
        score_verdict(study, plan, progress)
    except (CheckpointError, TaskError) as problem:
        _print_line(progress.console, f"[yellow]no verdict[/yellow]: {escape(str(problem))}")


def make_goal(config: SearchConfig, plan: Plan[StudyConfig]) -> Goal:
    """Make the goal of a search: as many trainings as were asked for, or as suit its devices."""
    return Goal.choose(
        config.trials,
        config.verdict_seeds,
        rivals=len(plan.recorded.rivals),
        budgets=len(plan.space.budgets),
        kind=plan.devices.kind,
        devices=len(plan.devices.names),
    )


def limit_packs(plan: Plan[StudyConfig], goal: Goal) -> TrainingSetup:
    """Return the setup of workers that know how much they will train, together and in all."""
    devices = len(plan.devices.names)
    return dataclasses.replace(
        plan.setup,
        # The trainings of a round that one of the devices gets.
        most_slots=math.ceil(goal.places / devices),
        trainings=math.ceil(goal.trials / devices),
    )


def _write_what_has_finished(study: SearchStudy, console: Console) -> None:
    _print_line(
        console,
        f"\ninterrupted: {study.num_finished} of {study.goal.trials} trials are finished and kept; "
        "run the same command to go on",
    )
    try:
        front = write_front(study)
    except StudyError:
        return  # there is nothing to choose yet
    _print_line(console, f"best so far: {escape(str(front.best.path))}")


def _print_line(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
