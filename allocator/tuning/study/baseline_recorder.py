"""The uniform-rank baseline of a study: what it is, and how it is recorded and used again."""

from __future__ import annotations

from pathlib import Path

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.coordination.list_config import (
    SharedConfig,
    make_list_config,
    make_listed_allocation,
    open_records,
)
from allocator.coordination.records import Records
from allocator.files.study_layout import FOLDER, UNIFORM
from allocator.training.messages import Report
from allocator.tuning.space.space import Space, make_baseline_params


class BaselineRecorder:
    """Keeps what a study's baseline shows while it trains, and gives it back to a later study.

    Args:
        folder: The study's folder.
        config: What all trials share.
        space: The search space.
        spec: What the baseline's adapter is, apart from its ranks.
    """

    def __init__(self, folder: Path, config: SharedConfig, space: Space, spec: AdapterSpec) -> None:
        self.records = Records(folder / FOLDER)
        self._params = make_baseline_params(space)
        uniform = make_listed_allocation(spec, space.allocation(self._params))
        self._config, self._space = make_list_config(config, {UNIFORM: uniform}), space
        self._reports: list[Report] = []

    def note(self, report: Report) -> None:
        """Take in a boundary; a trial that starts again starts anew."""
        self._reports = [r for r in self._reports if r.step < report.step] + [report]

    def write(self, report: Report, adapter: Path) -> None:
        """Record the completed baseline and keep its adapter."""
        self.note(report)
        open_records(self.records.folder, self._config)
        self.records.add(UNIFORM, self._config.training.seed, self._reports, adapter)

    def recorded(self) -> list[Report]:
        """Give the boundaries of a baseline that was recorded before the study began, if one was.

        Raises:
            StudyError: If what is recorded was made with another configuration.
        """
        if not self.records.folder.exists():
            return []
        open_records(self.records.folder, self._config)
        return self.records.reports(UNIFORM, self._config.training.seed)

    @property
    def adapter(self) -> Path:
        """File of the trained baseline."""
        return self.records.adapter_path(UNIFORM, self._config.training.seed)
