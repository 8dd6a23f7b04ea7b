"""The uniform-rank baseline of a study: what it is, and how it is recorded and used again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from optuna.distributions import FloatDistribution

from allocator.adapters import AdapterSpec
from allocator.adapters.recipe import AdapterSection, write_yaml
from allocator.allocation import Allocation
from allocator.errors import StudyError
from allocator.training.messages import Report
from allocator.training.trained import CONFIG_FILE
from allocator.tuning.folder_lock import holds_others
from allocator.tuning.records import Records
from allocator.tuning.space import Params, Space
from allocator.tuning.study_config import (
    ListConfig,
    ListedAllocation,
    SharedConfig,
    read_list_config,
)

FOLDER = "baseline"
UNIFORM = "uniform"
"""Name of the baseline among the records of its folder."""


def baseline_params(space: Space) -> Params:
    """Give the uniform-rank baseline: lambda 1, and the middle of the learning rates' range."""
    first = space.variants[0]
    values: dict[str, float | str] = {
        first.rank_parameters[name]: rank for name, rank in first.feasible.uniform().items()
    }
    values |= first.choice
    for name in space.rate_parameters:
        distribution = space.distributions[name]
        assert isinstance(distribution, FloatDistribution)
        middle = (distribution.low * distribution.high) ** 0.5
        nearest_to_one = min(max(1.0, distribution.low), distribution.high)
        values[name] = middle if name == "learning_rate" else nearest_to_one
    return {name: value for name, value in values.items() if name in space.distributions}


def listed(spec: AdapterSpec, allocation: Allocation) -> ListedAllocation:
    """Describe an allocation for the configuration of a list."""
    shape = spec.shape
    return ListedAllocation(
        adapter=AdapterSection(
            construction=shape.construction,
            factorization=shape.factorization,
            full_modes=tuple(sorted(shape.full_modes)),
            zero_mode=shape.stated_zero_mode,
            ranks=dict(allocation.ranks),
            targets=shape.backbone.targets,
            scaling=spec.config.scaling,
            initialization=spec.config.initialization,
        ),
        num_parameters=shape.num_parameters(allocation.ranks),
        learning_rate=allocation.learning_rate,
        core_lr_multiplier=allocation.core_lr_multiplier,
        lr_multipliers=dict(allocation.lr_multipliers),
    )


def list_config(shared: SharedConfig, allocations: Mapping[str, ListedAllocation]) -> ListConfig:
    """Join what trainings share and what they train."""
    fields = {name: getattr(shared, name) for name in SharedConfig.model_fields}
    return ListConfig(**fields, allocations=dict(allocations))


def record(folder: Path, config: ListConfig) -> Records:
    """Open the records in a folder for trainings of a list, and note what they are.

    Raises:
        StudyError: If the folder's trainings were of another configuration.
    """
    path = folder / CONFIG_FILE
    if path.exists():
        config = config.joined(read_list_config(path))
    elif holds_others(folder):
        raise StudyError(f"{folder} is not empty and holds no {CONFIG_FILE}; move it away")
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(path, config, "What the trainings recorded here share, and their allocations.")
    return Records(folder)


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
        self._params = baseline_params(space)
        uniform = listed(spec, space.allocation(self._params))
        self._config, self._space = list_config(config, {UNIFORM: uniform}), space
        self._reports: list[Report] = []

    def note(self, report: Report) -> None:
        """Take in a boundary; a trial that starts again starts anew."""
        self._reports = [r for r in self._reports if r.step < report.step] + [report]

    def write(self, report: Report, adapter: Path) -> None:
        """Record the completed baseline and keep its adapter."""
        self.note(report)
        record(self.records.folder, self._config)
        self.records.add(UNIFORM, self._config.training.seed, self._reports, adapter)

    def recorded(self) -> list[Report]:
        """Give the boundaries of a baseline that was recorded before the study began, if one was.

        Raises:
            StudyError: If what is recorded was made with another configuration.
        """
        if not self.records.folder.exists():
            return []
        record(self.records.folder, self._config)
        return self.records.reports(UNIFORM, self._config.training.seed)

    @property
    def adapter(self) -> Path:
        """File of the trained baseline."""
        return self.records.adapter_path(UNIFORM, self._config.training.seed)
