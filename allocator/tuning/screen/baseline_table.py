"""Tables of a baseline's results and measurements, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from rich.console import Console
from rich.table import Table

from allocator.coordination.records import Records
from allocator.files.adapter_section import ListedAllocation
from allocator.files.study_folder import UNIFORM


def print_baseline(
    console: Console, records: Records, allocations: Mapping[str, ListedAllocation]
) -> None:
    """Print a baseline's scores, and how much of its ranks the trained core uses."""
    table = Table(title=f"{records.folder}", title_justify="left")
    for column in ("", "ranks", "parameters", "score", "loss", "ending"):
        table.add_column(column, justify="right" if column in ("score", "loss") else "left")
    training = records.read("training")
    for name, listed in allocations.items():
        rows = training[training.name == name]
        if rows.empty:
            continue  # it was given up
        # Rows are in the order of boundaries.
        last = rows.iloc[-1]
        ranks = " ".join(map(str, listed.adapter.ranks.values()))
        scores = (f"{last.score:.4f}", f"{last.loss:.4f}", str(last.ending))
        table.add_row(name, ranks, f"{listed.num_parameters:,}", *scores)
    console.print(table, highlight=False)
    _print_mode_spectra(console, records.read("modes"))


def _print_mode_spectra(console: Console, modes: pd.DataFrame) -> None:
    """Print how much of each mode's rank the trained core uses, averaged over tensors."""
    if modes.empty:
        return
    last = modes[(modes.name == UNIFORM) & (modes.step == modes.step.max())]
    metrics = ["entropy", "normalized_entropy", "effective_rank", "top1_energy", "stable_rank"]
    table = Table(title="trained core, by mode", title_justify="left")
    for column in ("mode", "rank", *(metric.replace("_", " ") for metric in metrics)):
        table.add_column(column, justify="left" if column == "mode" else "right")
    # Unsorted, to keep the order of modes.
    for mode, rows in last.groupby("mode", sort=False):
        values = (f"{rows[metric].mean():.2f}" for metric in metrics)
        table.add_row(str(mode), str(rows["rank"].iloc[0]), *values)
    console.print(table, highlight=False)
