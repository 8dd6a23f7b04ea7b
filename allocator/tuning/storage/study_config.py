"""The configuration that all trials of a study share, which makes them comparable."""

from __future__ import annotations

from allocator.coordination.list_config import SharedConfig
from allocator.tuning.names import DecideBy, PrunerName, SamplerName
from allocator.tuning.space.space_file import SpaceFile


class StudyConfig(SharedConfig):
    """The content of a study's `config.yaml`."""

    budget: int
    smaller_budgets: tuple[int, ...] = ()
    space_name: str
    space: SpaceFile
    rivals: tuple[str, ...] = ()
    decide_by: DecideBy
    sampler: SamplerName
    pruner: PrunerName
    prior: str
    prior_strength: float
    start: tuple[dict[str, int | float | str], ...]
