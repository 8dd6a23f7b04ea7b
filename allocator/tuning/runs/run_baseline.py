"""Trains a study's baseline by itself, with other kinds of adapters beside it where asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from allocator.allocation import AdapterShape, Allocation, FeasibleSet
from allocator.config import BaselineConfig
from allocator.coordination.list_config import (
    ListedAllocation,
    make_list_config,
    make_listed_allocation,
)
from allocator.coordination.records import Records
from allocator.coordination.train_list import train_list
from allocator.files.folder_lock import lock_folder
from allocator.files.study_layout import FOLDER, UNIFORM
from allocator.tuning.figures.output import draw_and_print, save_figures
from allocator.tuning.figures.study_figures import make_baseline_figures
from allocator.tuning.plan.prepare import PreparedSpace, prepare_space
from allocator.tuning.screen.header import print_header
from allocator.tuning.space.build_space import adapter_shapes, adapter_spec
from allocator.tuning.space.space import make_baseline_params
from allocator.tuning.space.space_file import read_space

_PRESETS = {"cp": "tenslora_att_qkv_depth_cp", "tt": "tt", "lora": "lora"}


def run_baseline(config: BaselineConfig, console: Console) -> Records:
    """Train what a study's baseline folder lacks, and show what it is and what it measured.

    Raises:
        AllocatorError: For every mistake that can be known before anything trains.
        KeyboardInterrupt: If the user interrupts; what has ended is recorded.
    """
    prepared = prepare_space(config)
    allocations = dict(_allocations(config, prepared))
    folder = prepared.folder / folder_name(config)
    print_header(console, prepared)
    prepared.folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(prepared.folder):
        records = train_list(
            prepared.worker,
            make_list_config(prepared.shared, allocations),
            folder,
            console,
            devices=prepared.devices,
            slots=config.slots,
            seeds=(config.training.seed,),
            is_measured=True,
            keeps_adapters=True,
        )
    _print_result(console, records, allocations, folder)
    figures = make_baseline_figures(records)
    draw_and_print(console, lambda warn: save_figures(folder, figures, warn=warn))
    return records


def folder_name(config: BaselineConfig) -> str:
    """Name the folder of a baseline inside its study's: only a search's own is `baseline`."""
    if config.rank is None:
        return FOLDER
    return f"{FOLDER}-rank-{config.rank}" + ("" if config.is_capped else "-uncapped")


def _allocations(
    config: BaselineConfig, prepared: PreparedSpace
) -> Iterator[tuple[str, ListedAllocation]]:
    space, typical = prepared.space, prepared.worker.spec
    uniform = space.allocation(make_baseline_params(space))
    specs = {UNIFORM: typical}
    for name in config.also:
        scaling = {"scaling": prepared.space_file.scaling}
        preset = read_space(_PRESETS[name]).model_copy(update=scaling)
        (shape,) = adapter_shapes(preset, space.shape.backbone)
        specs[name] = adapter_spec(preset, shape)
    for name, spec in specs.items():
        if name == UNIFORM and config.rank is None:
            ranks = dict(uniform.ranks)
        else:
            ranks = _ranks(spec.shape, config, space.feasible.budget)
        allocation = Allocation(
            ranks=ranks,
            learning_rate=uniform.learning_rate,
            core_lr_multiplier=uniform.core_lr_multiplier,
        )
        yield name, make_listed_allocation(spec, allocation)


def _ranks(shape: AdapterShape, config: BaselineConfig, budget: int) -> dict[str, int]:
    bounds = shape.rank_bounds
    if config.rank is None:
        choices = {name: range(1, bound + 1) for name, bound in bounds.items()}
        return FeasibleSet(shape, choices, budget).uniform()
    if not config.is_capped:
        return dict.fromkeys(bounds, config.rank)
    return {name: min(config.rank, bound) for name, bound in bounds.items()}


def _print_result(
    console: Console, records: Records, allocations: dict[str, ListedAllocation], folder: Path
) -> None:
    table = Table(title=f"{folder}", title_justify="left")
    for column in ("", "ranks", "parameters", "score", "loss", "ending"):
        table.add_column(column, justify="right" if column in ("score", "loss") else "left")
    training = records.table("training")
    for name, listed_ in allocations.items():
        rows = training if training.empty else training[training.name == name]
        if rows.empty:
            continue  # given up
        last = rows.iloc[-1]
        ranks = " ".join(map(str, listed_.adapter.ranks.values()))
        scores = (f"{last.score:.4f}", f"{last.loss:.4f}", str(last.ending))
        table.add_row(name, ranks, f"{listed_.num_parameters:,}", *scores)
    console.print(table, highlight=False)
    _print_modes(console, records.table("modes"))


def _print_modes(console: Console, modes: pd.DataFrame) -> None:
    """Show what the trained core uses of each mode's rank, averaged over tensors."""
    if modes.empty:
        return
    last = modes[(modes.name == UNIFORM) & (modes.step == modes.step.max())]
    metrics = ["entropy", "normalized_entropy", "effective_rank", "top1_energy", "stable_rank"]
    table = Table(title="trained core, by mode", title_justify="left")
    for column in ("mode", "rank", *(metric.replace("_", " ") for metric in metrics)):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for mode, rows in last.groupby("mode", sort=False):
        values = (f"{rows[metric].mean():.2f}" for metric in metrics)
        table.add_row(str(mode), str(rows["rank"].iloc[0]), *values)
    console.print(table, highlight=False)
