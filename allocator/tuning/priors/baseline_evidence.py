"""What a trained baseline shows of where ranks should go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from allocator.coordination.records import Records
from allocator.files.study_folder import UNIFORM, TableName

_MODES = ["step", "layer", "target", "mode", "rank", "normalized_entropy", "effective_rank"]
_MODES += ["top1_energy"]
_GRADIENTS = ["step", "part", "mean"]
_TRUNCATION = ["mode", "rank", "loss"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The measured uniform-rank baseline of a study.

    Attributes:
        ranks: Its rank by the shape's name.
        modes: Summaries of the spectrum of every core's every mode at every boundary, columns
            `step`, `layer`, `target`, `mode`, `rank`, `normalized_entropy`, `effective_rank`,
            `top1_energy` and more; no rows where there is no core.
        gradients: Gradient norms of the adapter's parts between boundaries, columns `step`,
            `part`, `mean` and more.
        truncation: Calibrated loss with the trained core cut in one mode, nothing trained, columns
            `mode`, `rank`, `loss`; at the baseline's own rank the loss of the whole adapter.
    """

    ranks: Mapping[str, int]
    modes: pd.DataFrame
    gradients: pd.DataFrame
    truncation: pd.DataFrame

    def average_modes(self, column: str) -> dict[str, float]:
        """Average a column of `modes` at the last boundary over tensors, for every mode."""
        last = self.modes[self.modes["step"] == self.modes["step"].max()]
        return _average_by(last, "mode", column)

    def average_gradient_norms(self) -> dict[str, float]:
        """Average the gradient norm of every part over the boundaries."""
        return _average_by(self.gradients, "part", "mean")


def read_baseline(folder: Path, ranks: Mapping[str, int]) -> Baseline:
    """Read the tables of a baseline; a table that was not written has no rows.

    Args:
        folder: The study's folder of its baseline, where others may be recorded beside it.
        ranks: The baseline's rank by the shape's name.
    """
    records = Records(folder)
    return Baseline(
        ranks=ranks,
        modes=_read_baseline_rows(records, "modes", _MODES),
        gradients=_read_baseline_rows(records, "gradients", _GRADIENTS),
        truncation=_read_baseline_rows(records, "truncation", _TRUNCATION),
    )


def _average_by(table: pd.DataFrame, by: str, column: str) -> dict[str, float]:
    means: dict[str, float] = {}
    for name, rows in table.groupby(by):
        means[str(name)] = float(rows[column].mean())
    return means


def _read_baseline_rows(records: Records, table: TableName, columns: Sequence[str]) -> pd.DataFrame:
    rows = records.read(table)
    if not {"name", *columns} <= set(rows.columns):
        return pd.DataFrame(columns=list(columns))
    return rows[rows["name"] == UNIFORM]
