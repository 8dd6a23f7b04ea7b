"""Record a study's uniform-rank baseline as it trains, for priors, figures and later studies."""

from __future__ import annotations

from pathlib import Path

from allocator.coordination.list_config import ListConfig, SharedConfig
from allocator.coordination.records import Records
from allocator.files.adapter_section import ListedAllocation
from allocator.files.study_folder import UNIFORM, baseline_folder
from allocator.training.messages import Report
from allocator.tuning.space.space import Space, make_baseline_params


class BaselineRecorder:
    """Collect the reports of a study's baseline, and write its tables when it is completed.

    Args:
        folder: The study's folder.
        config: The configuration that all trials share.
        space: The search space.
    """

    def __init__(self, folder: Path, config: SharedConfig, space: Space) -> None:
        self.records = Records(baseline_folder(folder))
        uniform = ListedAllocation.from_allocation(
            space.variants[0].spec, space.make_allocation(make_baseline_params(space))
        )
        # As the command `baseline` records it, so that each can go on from the other's tables.
        self._config = ListConfig.of(config, {UNIFORM: uniform})
        self._reports: list[Report] = []

    def add_report(self, report: Report) -> None:
        """Add a boundary's report; it replaces those of a broken-off attempt from there on."""
        self._reports = [r for r in self._reports if r.step < report.step] + [report]

    def write(self, report: Report, adapter: Path) -> None:
        """Record the completed baseline and copy its adapter."""
        self.add_report(report)
        # Only now, because this makes the folder: a search records only a completed baseline.
        records = Records.open(self.records.folder, self._config)
        records.add(UNIFORM, self._config.training.seed, self._reports, adapter)

    def read_recorded(self) -> list[Report]:
        """Return the reports of a baseline that was recorded before the study began, if any.

        Raises:
            StudyError: If it was recorded with another configuration.
        """
        if not self.records.folder.exists():
            return []
        records = Records.open(self.records.folder, self._config)
        return records.read_reports(UNIFORM, self._config.training.seed)

    @property
    def adapter(self) -> Path:
        """File of the trained baseline."""
        return self.records.adapter_path(UNIFORM, self._config.training.seed)
