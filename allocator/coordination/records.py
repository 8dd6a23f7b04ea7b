"""Trainings of named allocations, as tables in a folder that is whole after every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from allocator.adapters.spectra import tabulate_spectra, tabulate_spectrum_metrics
from allocator.errors import StudyError
from allocator.files.whole_files import write_whole
from allocator.training.messages import Ending, Report

Table = Literal["gradients", "spectra", "modes", "truncation", "training"]

_COLUMNS = (
    *("step", "train_loss", "loss", "calibrated_loss", "score", "ending"),
    *("num_parameters", "head_parameters", "seconds"),
)


class Records:
    """What trainings have shown, by the name of the allocation and the seed.

    Each table is a CSV file whose first columns are `name` and `seed`. A training is there once
    `training.csv` has it, which is written last: what a killed process left of it in other tables
    is replaced when it is trained again.

    Args:
        folder: Where the tables and the adapters are, and where new ones go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, kind: Table) -> pd.DataFrame:
        """Read a table as `tabulate_reports` describes it; an empty one where nothing was recorded.

        Raises:
            StudyError: If trainings were recorded without something that is needed of them.
        """
        path = self._path(kind)
        if not path.exists():
            return pd.DataFrame()
        found = pd.read_csv(path, dtype={"name": str})
        lacking = [c for c in ("name", "seed", *_COLUMNS) if c not in found.columns]
        if kind == "training" and lacking:
            raise StudyError(
                f"{path} must have a column {lacking[0]}, has {', '.join(found.columns)}; "
                "another version wrote it: give another --study, or remove its folder"
            )
        return found

    def names(self, seed: int) -> list[str]:
        """List what was trained with a seed."""
        training = self.table("training")
        return [] if training.empty else training[training.seed == seed].name.unique().tolist()

    def reports(self, name: str, seed: int) -> list[Report]:
        """Give the boundaries of one training, without what was measured; none where it is not."""
        training = self.table("training")
        if training.empty:
            return []
        mine = training[(training.name == name) & (training.seed == seed)].sort_values(
            "step", kind="stable"
        )
        components = [c for c in mine.columns if c not in {"name", "seed", *_COLUMNS}]
        return [
            Report(
                trial=0,
                ending=_ending(row["ending"]),
                components={c: float(row[c]) for c in components if pd.notna(row[c])},
                best_score=float(best),
                **{column: row[column] for column in _COLUMNS if column != "ending"},
            )
            for row, best in zip(mine.to_dict("records"), mine.score.cummax(), strict=True)
        ]

    def adapter_path(self, name: str, seed: int) -> Path:
        """Say where a trained adapter is, where it was kept."""
        return self.folder / f"{name}-seed-{seed}.safetensors"

    def add(
        self, name: str, seed: int, reports: Sequence[Report], adapter: Path | None = None
    ) -> None:
        """Add a training that has ended.

        Args:
            name: Of the allocation.
            seed: It was trained with.
            reports: Its boundaries in their order.
            adapter: File of the trained adapter, which is copied, where it is to be kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if adapter is not None:
            write_whole(self.adapter_path(name, seed), adapter.read_bytes())
        new = tabulate_reports(reports)
        for kind in get_args(Table):
            if not new[kind].empty:
                self._append(kind, name, seed, new[kind])

    def _append(self, kind: Table, name: str, seed: int, rows: pd.DataFrame) -> None:
        rows = rows.assign(name=name, seed=seed)
        rows = rows[["name", "seed", *rows.columns.drop(["name", "seed"])]]
        known = self.table(kind)
        if not known.empty:
            known = known[(known.name != name) | (known.seed != seed)]
            rows = pd.concat([known, rows], ignore_index=True) if len(known) else rows
        write_whole(self._path(kind), rows.to_csv(index=False).encode())

    def _path(self, kind: Table) -> Path:
        return self.folder / f"{kind}.csv"


def tabulate_reports(reports: Sequence[Report]) -> Mapping[Table, pd.DataFrame]:
    """Tabulate the boundaries of one training.

    Returns:
        `training`: a row a boundary, columns `step`, `train_loss` (mean since the start), `loss`,
        `calibrated_loss` and `score` (on the scoring split), `ending` (empty before the last),
        `num_parameters`, `head_parameters`, `seconds`, and the metric's components by name. Of a
        measured one also `gradients`: a row a boundary and part, columns `step`, `part`, `mean`,
        `max` (norms over the steps since the boundary before); `spectra` and `modes`: those of
        `tabulate_spectra` and `tabulate_spectrum_metrics`, with `step` in front; `truncation`:
        columns `mode`,
        `rank`, `loss`, on the scoring split with one mode of the trained adapter cut to a rank.
    """
    rows = [
        {**{c: getattr(report, c) for c in _COLUMNS}, **report.components} for report in reports
    ]
    training = pd.DataFrame(rows).fillna({"ending": ""})
    measured = [(r.step, r.measures) for r in reports if r.measures is not None]
    gradients = [(step, part, *n) for step, m in measured for part, n in m.gradients.items()]
    truncation = [(cut.mode, cut.rank, cut.loss) for _, m in measured[-1:] for cut in m.truncation]
    return {
        "training": training,
        "gradients": pd.DataFrame(gradients, columns=["step", "part", "mean", "max"]),
        "spectra": _stacked([(step, tabulate_spectra(m.spectra)) for step, m in measured]),
        "modes": _stacked([(step, tabulate_spectrum_metrics(m.spectra)) for step, m in measured]),
        "truncation": pd.DataFrame(truncation, columns=["mode", "rank", "loss"]),
    }


def _ending(text: object) -> Ending | None:
    return next((ending for ending in get_args(Ending) if ending == text), None)


def _stacked(tables: Sequence[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    with_steps = [table.assign(step=step) for step, table in tables if not table.empty]
    if not with_steps:
        return pd.DataFrame()
    stacked = pd.concat(with_steps, ignore_index=True)
    return stacked[["step", *stacked.columns.drop("step")]]
