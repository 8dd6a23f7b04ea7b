"""Train the allocations of a published comparison and summarize their scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from allocator.coordination.list_config import ListConfig, read_shared_config
from allocator.coordination.train_list import train_list
from allocator.files.adapter_section import ListedAllocation
from allocator.files.folder_lock import create_and_lock_study_folder
from allocator.files.study_folder import CONFIG_FILE, SUMMARY_FILE
from allocator.files.tables import write_table
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import locate_model
from allocator.progress.run_progress import CHECKING, RunProgress
from allocator.tuning.figures.sweep_scores import draw_sweep_scores
from allocator.tuning.loggers.list_runs import ListRuns, RunNames
from allocator.tuning.loggers.open_loggers import open_loggers
from allocator.tuning.loggers.result_tables import make_frame_table
from allocator.tuning.plan.run_config import SweepConfig
from allocator.tuning.plan.training_plan import (
    find_devices,
    load_task_data,
    make_setup,
    make_shared_config,
    name_study,
)
from allocator.tuning.rendering.figure_files import draw_and_print, save_figures
from allocator.tuning.runs.run_parts import DRAWING, FIGURES, TRAININGS, list_parts
from allocator.tuning.screen.header import print_banner
from allocator.tuning.screen.sweep_table import print_sweep
from allocator.tuning.space.published_sweep import BASELINE, Phase, list_tenslora_plus

_TARGETS = ("query", "key", "value")


def run_sweep(config: SweepConfig, progress: RunProgress) -> Path | None:
    """Train what is missing, and write `summary.csv` and the plot.

    Returns:
        The summary's path, or None if the user interrupted.

    Raises:
        AllocatorError: For every mistake that can be known before anything trains.
    """
    console = progress.console
    progress.begin("finding devices and the model")
    devices = find_devices(config)
    model = locate_model(config.model, config.model_cache)
    backbone = read_backbone_shape(model, config.targets or _TARGETS)
    progress.begin("loading the task")
    data = load_task_data(config, model)
    phases = list(list_tenslora_plus(backbone, config.learning_rate))
    folder = config.studies_dir / name_study(config, data, config.sweep)
    recorded = folder / CONFIG_FILE
    # A sweep keeps the precision that was timed when it began, so that its scores compare.
    begun = read_shared_config(recorded, ListConfig).precision if recorded.exists() else None
    progress.begin("timing number formats")
    precision = config.precision or begun or devices.choose_precision(backbone.d_in)
    shared = make_shared_config(
        config, folder.name, model=model, backbone=backbone, data=data, precision=precision
    )
    print_banner(console, data)
    progress.begin(CHECKING)
    setup = make_setup(
        config,
        model=model,
        data=data,
        devices=devices,
        precision=precision,
        spec=phases[0].spec,
        # The baseline stands for all allocations when the size of a pack is measured.
        typical=phases[0].allocation,
    )
    if setup.path.reason:
        console.print(f"runs with  {setup.path.description}", highlight=False, markup=False)
    listed = {p.name: ListedAllocation.from_allocation(p.spec, p.allocation) for p in phases}
    seeds = range(config.training.seed, config.training.seed + config.seeds)
    progress.expect(list_parts(len(listed) * len(seeds)))
    with create_and_lock_study_folder(folder), open_loggers(config.log, folder, console) as loggers:
        progress.begin("deciding what to train", TRAININGS)
        try:
            records = train_list(
                setup,
                ListConfig.of(shared, listed),
                folder,
                progress,
                devices=devices,
                slots=config.slots,
                seeds=seeds,
                watch=lambda trials: ListRuns(trials, loggers, RunNames(purpose="sweep")),
            )
        except KeyboardInterrupt:
            console.print("\ninterrupted: run the same command to go on", highlight=False)
            return None
        summary = summarize_sweep(records.read("training"), phases, seeds)
        write_table(folder / SUMMARY_FILE, summary)
        loggers.log_table(make_frame_table(summary))
    print_sweep(console, summary, data.task.metric)
    progress.begin(DRAWING, FIGURES)
    figures = {"sweep": draw_sweep_scores(summary, metric=data.task.metric)}
    draw_and_print(console, lambda warn: [save_figures(folder, figures, warn=warn)])
    console.print(f"\n{folder / SUMMARY_FILE}", highlight=False, markup=False, soft_wrap=True)
    return folder / SUMMARY_FILE


def summarize_sweep(
    training: pd.DataFrame, phases: Sequence[Phase], seeds: Sequence[int]
) -> pd.DataFrame:
    """Average the scores at the last boundary over seeds.

    Args:
        training: The table `training` of `Records`.
        phases: The allocations.
        seeds: Seeds to average over.

    Returns:
        One row for each allocation with a training that has ended: columns `phase`, `name`,
        `ranks`, `core_lr_multiplier`, `parameters`, `mean` and `standard_error` of the score,
        `difference` to the baseline of the same seeds and its `difference_error`,
        `calibrated_loss`, `collapsed` (number of trainings that collapsed or diverged), `seeds`.
    """
    # The folder may hold more seeds, from an earlier run.
    training = training[training.seed.isin(list(seeds))]
    # Stable: a training that diverged repeats its last step, and the row of its ending is last.
    last = training.sort_values("step", kind="stable").groupby(["name", "seed"]).last()
    scores = last.score.unstack("seed")
    # `reindex`, because a baseline that was given up has no rows.
    baseline = scores.reindex([BASELINE]).loc[BASELINE]
    rows = []
    for phase in phases:
        if phase.name not in scores.index:
            continue
        mine = scores.loc[phase.name].dropna()
        # pandas aligns both by seed; a seed that one of them lacks becomes NaN.
        paired = (mine - baseline).dropna()
        ended = last.loc[phase.name]
        rows.append(
            {
                "phase": phase.phase,
                "name": phase.name,
                "ranks": " ".join(map(str, phase.allocation.ranks.values())),
                "core_lr_multiplier": phase.allocation.core_lr_multiplier,
                "parameters": phase.spec.shape.num_parameters(phase.allocation.ranks),
                "mean": mine.mean(),
                "standard_error": mine.sem(),
                "difference": paired.mean(),
                "difference_error": paired.sem(),
                "calibrated_loss": ended.calibrated_loss.mean(),
                "collapsed": int(ended.ending.isin(["collapsed", "diverged"]).sum()),
                "seeds": len(mine),
            }
        )
    return pd.DataFrame(rows)
