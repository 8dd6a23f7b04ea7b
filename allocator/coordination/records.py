"""Record complete trainings of named allocations in the tables of a folder."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Self, get_args

import pandas as pd

from allocator.adapters.spectra import tabulate_spectra, tabulate_spectrum_metrics
from allocator.config import Calibration
from allocator.coordination.list_config import ListConfig, read_shared_config
from allocator.errors import StudyError
from allocator.files.folder_lock import holds_other_files
from allocator.files.study_folder import CONFIG_FILE, TableName, named_adapter_path, table_path
from allocator.files.tables import read_table, write_table
from allocator.files.whole_files import write_whole
from allocator.files.yaml_files import write_yaml
from allocator.training.messages import Ending, Report

_REQUIRED = (
    *(
        "name",
        "seed",
        "step",
        "train_loss",
        "loss",
        "calibrated_loss",
        "majority_loss",
        "score",
        "ending",
    ),
    *("num_parameters", "head_parameters", "seconds"),
)
_COLUMNS = _REQUIRED[2:]
_CALIBRATION = ("calibration_scale", "calibration_intercept")  # absent from older tables


class Records:
    """Tables of named trainings in a folder, by the name of the allocation and the seed.

    Each table is a CSV file whose first columns are `name` and `seed`. A training is recorded once
    its rows are in `training.csv`, which is written last. Rows that a killed process left in other
    tables are replaced when the training is repeated.

    Args:
        folder: Folder of the tables and the adapters, which are added there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, config: ListConfig) -> Self:
        """Open the records in a folder for trainings of a list, and write the list's configuration.

        Raises:
            StudyError: If the folder's trainings had another configuration.
        """
        path = folder / CONFIG_FILE
        if path.exists():
            config = config.join_recorded(read_shared_config(path, ListConfig))
        elif holds_other_files(folder):
            raise StudyError(f"{folder} is not empty and holds no {CONFIG_FILE}; move it away")
        folder.mkdir(parents=True, exist_ok=True)
        write_yaml(path, config, "What the trainings recorded here share, and their allocations.")
        return cls(folder)

    def read(self, table: TableName) -> pd.DataFrame:
        """Read a table as `tabulate_reports` describes it; an empty one if it was not written.

        Raises:
            StudyError: If trainings were recorded by another version, without a column that is
                needed.
        """
        required = _REQUIRED if table == "training" else ()
        return read_table(table_path(self.folder, table), required=required)

    def read_names(self, seed: int) -> list[str]:
        """List the names of the allocations that were trained with a seed."""
        training = self.read("training")
        names: list[str] = training[training.seed == seed].name.unique().tolist()
        return names

    def read_reports(self, name: str, seed: int) -> list[Report]:
        """Return the reports of one training, without measures; none if it is not recorded."""
        training = self.read("training")
        # Stable: a training that diverged repeats its last step, and the row of its ending is last.
        mine = training[(training.name == name) & (training.seed == seed)].sort_values(
            "step", kind="stable"
        )
        # Every further column is a component of the metric.
        components = [c for c in mine.columns if c not in (*_REQUIRED, *_CALIBRATION)]
        return [
            Report(
                trial=0,
                ending=_parse_ending(row["ending"]),
                components={c: float(row[c]) for c in components if pd.notna(row[c])},
                best_score=float(best),
                calibration=_parse_calibration(row),
                **{column: row[column] for column in _COLUMNS if column != "ending"},
            )
            for row, best in zip(mine.to_dict("records"), mine.score.cummax(), strict=True)
        ]

    def adapter_path(self, name: str, seed: int) -> Path:
        """Return the path of the trained adapter, which exists only if it was kept."""
        return named_adapter_path(self.folder, name, seed)

    def add(
        self, name: str, seed: int, reports: Sequence[Report], adapter: Path | None = None
    ) -> None:
        """Add a training that has ended.

        Args:
            name: Name of its allocation.
            seed: Its seed.
            reports: Its reports, in the order of boundaries.
            adapter: File of the trained adapter, which is copied; None keeps no adapter.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if adapter is not None:
            # Before the tables, so that a training that counts has its adapter.
            write_whole(self.adapter_path(name, seed), adapter.read_bytes())
        rows = tabulate_reports(reports)
        for table in get_args(TableName):  # `training` comes last and makes the training count
            if not rows[table].empty:
                self._append(table, name, seed, rows[table])

    def _append(self, table: TableName, name: str, seed: int, rows: pd.DataFrame) -> None:
        rows = rows.assign(name=name, seed=seed)
        rows = rows[["name", "seed", *rows.columns.drop(["name", "seed"])]]
        # Rows that a killed process left of this training are replaced.
        recorded = self.read(table)
        if not recorded.empty:
            others = recorded[(recorded.name != name) | (recorded.seed != seed)]
            rows = pd.concat([others, rows], ignore_index=True) if len(others) else rows
        write_table(table_path(self.folder, table), rows)


def tabulate_reports(reports: Sequence[Report]) -> Mapping[TableName, pd.DataFrame]:
    """Tabulate the reports of one training.

    Returns:
        `training`: a row for each boundary, columns `step`, `train_loss` (mean since the start),
        `loss`, `calibrated_loss`, `majority_loss` and `score` (on the scoring split), `ending`
        (empty before the last), `num_parameters`, `head_parameters`, `seconds`, the metric's
        components by name, and `calibration_scale` and `calibration_intercept`, empty for a
        training that failed.

        A measured training also has `gradients`: a row for each boundary and part, columns `step`,
        `part`, `mean`, `max` (norms over the steps since the previous boundary); `spectra` and
        `modes`: the columns of `tabulate_spectra` and `tabulate_spectrum_metrics`, with `step` in
        front; `truncation`: columns `mode`, `rank`, `loss`, the loss on the scoring split with one
        mode of the trained adapter truncated to a rank.
    """
    rows = [
        {
            **{c: getattr(report, c) for c in _COLUMNS},
            **report.components,
            **_describe_calibration(report.calibration),
        }
        for report in reports
    ]
    training = pd.DataFrame(rows).fillna({"ending": ""})
    measured = [(r.step, r.measures) for r in reports if r.measures is not None]
    gradients = [(step, part, *n) for step, m in measured for part, n in m.gradients.items()]
    # From the last boundary alone: truncation is measured once a training is completed.
    truncation = [(cut.mode, cut.rank, cut.loss) for _, m in measured[-1:] for cut in m.truncation]
    return {
        "training": training,
        "gradients": pd.DataFrame(gradients, columns=["step", "part", "mean", "max"]),
        "spectra": _stack_steps([(step, tabulate_spectra(m.spectra)) for step, m in measured]),
        "modes": _stack_steps(
            [(step, tabulate_spectrum_metrics(m.spectra)) for step, m in measured]
        ),
        "truncation": pd.DataFrame(truncation, columns=["mode", "rank", "loss"]),
    }


def _parse_ending(text: object) -> Ending | None:
    return next((ending for ending in get_args(Ending) if ending == text), None)


def _describe_calibration(calibration: Calibration | None) -> Mapping[str, float]:
    if calibration is None:
        return dict.fromkeys(_CALIBRATION, math.nan)
    return {f"calibration_{name}": value for name, value in calibration}


def _parse_calibration(row: Mapping[Hashable, object]) -> Calibration | None:
    scale, intercept = (row.get(column) for column in _CALIBRATION)
    if not isinstance(scale, float) or math.isnan(scale):
        return None
    return Calibration.model_validate({"scale": scale, "intercept": intercept})


def _stack_steps(tables: Sequence[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    with_steps = [table.assign(step=step) for step, table in tables if not table.empty]
    if not with_steps:
        return pd.DataFrame()
    stacked = pd.concat(with_steps, ignore_index=True)
    return stacked[["step", *stacked.columns.drop("step")]]
