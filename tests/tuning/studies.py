"""Studies opened as a search opens them, for tests that ask and tell by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.storage.storage_url import choose_storage_url
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.open_study import open_study
from allocator.tuning.study.study import SearchStudy


@contextmanager
def opened(plan: Plan[StudyConfig], storage: str | None = None) -> Iterator[SearchStudy]:
    """Open a planned study, in its own file or in another storage."""
    url = choose_storage_url(storage, plan.folder)
    with open_study(plan.recorded, plan.space, plan.folder, url) as study:
        yield study
