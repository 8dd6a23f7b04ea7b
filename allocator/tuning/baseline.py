"""What a study's baseline shows while it trains, as tables in the study's folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from allocator.adapters.spectra import metrics_table, spectra_table
from allocator.training.messages import Report

FOLDER = "baseline"
_ADAPTER_FILE = "adapter.safetensors"


class BaselineTables:
    """The boundaries of one measured trial.

    Args:
        folder: Where the tables go once the trial is completed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reports: list[Report] = []

    def add(self, report: Report) -> None:
        """Take in a boundary; a trial that starts again starts anew."""
        self._reports = [r for r in self._reports if r.step < report.step] + [report]

    def write(self, adapter: Path) -> None:
        """Write the tables, and a copy of the trained adapter; the folder appears whole."""
        unfinished = self.folder.with_name(f"{self.folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, table in tables(self._reports).items():
            table.to_csv(unfinished / f"{name}.csv", index=False)
        shutil.copyfile(adapter, unfinished / _ADAPTER_FILE)
        shutil.rmtree(self.folder, ignore_errors=True)
        unfinished.rename(self.folder)


def tables(reports: Sequence[Report]) -> dict[str, pd.DataFrame]:
    """Tabulate the boundaries of a measured trial.

    Returns:
        `training`: a row a boundary, columns `step`, `train_loss` (mean since the start), `loss`
        and `score` (on the scoring split). `gradients`: a row a boundary and part, columns `step`,
        `part`, `mean`, `max` (norms over the steps since the boundary before). `spectra` and
        `modes`: those of `spectra_table` and `metrics_table`, with `step` in front.
    """
    training = pd.DataFrame(
        [(r.step, r.train_loss, r.loss, r.score) for r in reports],
        columns=["step", "train_loss", "loss", "score"],
    )
    measured = [(r.step, r.measures) for r in reports if r.measures is not None]
    gradients = pd.DataFrame(
        [(step, part, *norms) for step, m in measured for part, norms in m.gradients.items()],
        columns=["step", "part", "mean", "max"],
    )
    return {
        "training": training,
        "gradients": gradients,
        "spectra": _stacked([(step, spectra_table(m.spectra)) for step, m in measured]),
        "modes": _stacked([(step, metrics_table(m.spectra)) for step, m in measured]),
    }


def _stacked(tables: Sequence[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    with_steps = []
    for step, table in tables:
        table.insert(0, "step", step)
        with_steps.append(table)
    return pd.concat(with_steps, ignore_index=True) if with_steps else pd.DataFrame()
