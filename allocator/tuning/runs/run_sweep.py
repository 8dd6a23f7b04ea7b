"""Trains the allocations of a published study and sums up what they scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from allocator.config import SweepConfig
from allocator.coordination.list_config import (
    make_list_config,
    make_listed_allocation,
    read_list_config,
)
from allocator.coordination.train_list import train_list
from allocator.files.folder_lock import lock_folder
from allocator.files.study_layout import CONFIG_FILE
from allocator.tuning.figures.output import draw_and_print, save_figures
from allocator.tuning.figures.sweep_scores import draw_sweep_scores
from allocator.tuning.plan.setting import prepare_setting, study_name
from allocator.tuning.screen.header import print_banner
from allocator.tuning.space.published_sweep import BASELINE, Phase, list_tenslora_plus

SUMMARY_FILE = "summary.csv"
_TARGETS = ("query", "key", "value")


def run_sweep(config: SweepConfig, console: Console) -> Path | None:
    """Train what is missing, and write `summary.csv` and the plot.

    Returns:
        The summary's path, or None where the user interrupted.

    Raises:
        AllocatorError: For every mistake that can be known before anything trains.
    """
    setting = prepare_setting(config, _TARGETS)
    folder = config.studies_dir / study_name(config, setting.data, config.sweep)
    phases = list(list_tenslora_plus(setting.backbone, config.learning_rate))
    allocations = {
        phase.name: make_listed_allocation(phase.spec, phase.allocation) for phase in phases
    }
    recorded = folder / CONFIG_FILE
    begun = read_list_config(recorded).precision if recorded.exists() else None
    shared = setting.shared(folder.name, begun)
    seeds = range(config.training.seed, config.training.seed + config.seeds)
    print_banner(console, setting.data)
    worker = setting.worker(shared.precision, spec=phases[0].spec, typical=phases[0].allocation)
    if worker.path.reason:
        console.print(f"runs with  {worker.path.description}", highlight=False, markup=False)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        try:
            records = train_list(
                worker,
                make_list_config(shared, allocations),
                folder,
                console,
                devices=setting.devices,
                slots=config.slots,
                seeds=seeds,
            )
        except KeyboardInterrupt:
            console.print("\ninterrupted: run the same command to go on", highlight=False)
            return None
        summary = summarize_sweep(records.table("training"), phases, seeds)
        summary.to_csv(folder / SUMMARY_FILE, index=False)
    metric = setting.data.task.metric
    print_summary(console, summary, metric)
    figures = {"sweep": draw_sweep_scores(summary, metric=metric)}
    draw_and_print(console, lambda warn: save_figures(folder, figures, warn=warn))
    console.print(f"\n{folder / SUMMARY_FILE}", highlight=False, soft_wrap=True)
    return folder / SUMMARY_FILE


def summarize_sweep(
    training: pd.DataFrame, phases: Sequence[Phase], seeds: Sequence[int]
) -> pd.DataFrame:
    """Average the last boundaries over seeds.

    Args:
        training: As `Records.table` gives it.
        phases: The allocations.
        seeds: Those that count.

    Returns:
        One row an allocation that has ended with any seed: columns `phase`, `name`, `ranks`,
        `core_lr_multiplier`, `parameters`, `mean` and `standard_error` of the score, `difference`
        to the baseline of the same seeds and its `difference_error`, `calibrated_loss`, `collapsed`
        (trainings that ended so, or diverged), `seeds`.
    """
    training = training[training.seed.isin(list(seeds))]
    last = training.sort_values("step", kind="stable").groupby(["name", "seed"]).last()
    scores = last.score.unstack("seed")
    baseline = scores.reindex([BASELINE]).loc[BASELINE]  # not there where it was given up
    rows = []
    for phase in phases:
        if phase.name not in scores.index:
            continue
        mine = scores.loc[phase.name].dropna()
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


def print_summary(console: Console, summary: pd.DataFrame, metric: str) -> None:
    """Show a sweep as a table."""
    title = f"{metric}, mean over seeds ± its standard error; calibrated loss"
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False
    )
    table.add_column("", no_wrap=True)
    for column in ("parameters", "score", "to the baseline", "loss", "collapsed"):
        table.add_column(column, justify="right", no_wrap=True)
    for _, rows in summary.groupby("phase", sort=False):
        for row in rows.to_dict("records"):
            difference = _with_error(f"{row['difference']:+.4f}", row["difference_error"])
            table.add_row(
                row["name"],
                f"{row['parameters']:,}",
                _with_error(f"{row['mean']:.4f}", row["standard_error"]),
                "" if row["name"] == BASELINE else difference,
                f"{row['calibrated_loss']:.4f}",
                f"{row['collapsed']}/{row['seeds']}",
            )
        table.add_section()
    console.print(table, highlight=False)


def _with_error(value: str, error: float) -> str:
    """Add a standard error, which one seed does not have."""
    return value if math.isnan(error) else f"{value} ± {error:.4f}"
