"""Read the tables of a trained baseline: the evidence from which priors propose ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from allocator.coordination.records import Records
from allocator.files.study_folder import UNIFORM, TableName

Evidence = Literal["modes", "gradients", "truncation"]
"""Names of the tables of a baseline that priors read."""

_MODES = ["step", "layer", "target", "mode", "rank", "normalized_entropy", "effective_rank"]
_MODES += ["top1_energy"]
_GRADIENTS = ["step", "part", "mean"]
_TRUNCATION = ["mode", "rank", "loss"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The measured uniform-rank baseline of a study.

    Attributes:
        ranks: The baseline's ranks, by the rank names of its adapter shape.
        modes: Summaries of the spectrum of each mode of each core at each boundary, columns
            `step`, `layer`, `target`, `mode`, `rank`, `normalized_entropy`, `effective_rank`,
            `top1_energy` and more; no rows if the adapter has no core.
        gradients: Gradient norms of the adapter's parts between boundaries, columns `step`,
            `part`, `mean` and more.
        truncation: Calibrated loss with one mode of the trained core truncated to a lower rank,
            without training again, columns `mode`, `rank`, `loss`; at the baseline's own rank this
            is the loss of the whole adapter.
    """

    ranks: Mapping[str, int]
    modes: pd.DataFrame
    gradients: pd.DataFrame
    truncation: pd.DataFrame

    def average_modes(self, column: str) -> dict[str, float]:
        """Average a column of `modes` at the last boundary over the tensors, by mode."""
        # Priors judge the trained core; earlier boundaries serve the figures.
        last = self.modes[self.modes["step"] == self.modes["step"].max()]
        return _average_by(last, "mode", column)

    def average_gradient_norms(self) -> dict[str, float]:
        """Average the gradient norms over the boundaries, by part."""
        return _average_by(self.gradients, "part", "mean")

    def covers_all_ranks(self, evidence: Evidence) -> bool:
        """Whether a table has rows for every rank of the baseline."""
        covered = {
            "modes": self.average_modes("effective_rank").keys(),
            "gradients": self.average_gradient_norms().keys(),
            "truncation": set(self.truncation["mode"]),
        }
        # A subset, not equality: `gradients` also has a part `core`, which has no rank.
        return set(self.ranks) <= covered[evidence]


def read_baseline(folder: Path, ranks: Mapping[str, int]) -> Baseline:
    """Read the tables of a baseline; a table that does not exist is read as an empty one.

    Args:
        folder: The folder `baseline` of the study, in which other adapters may be recorded too.
        ranks: The baseline's ranks, by the rank names of its adapter shape.
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
    # A table that was not written is read as a frame without any columns.
    if not {"name", *columns} <= set(rows.columns):
        return pd.DataFrame(columns=list(columns))
    # `baseline --also` records other kinds of adapters in the same tables.
    return rows[rows["name"] == UNIFORM]
