"""Studies opened as a search opens them, for tests that start and tell trials by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.trial import FrozenTrial

from allocator.tuning.plan.search_plan import Plan
from allocator.tuning.storage.storage_url import choose_storage_url
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.open_study import open_study
from allocator.tuning.study.study import SearchStudy

# Rounds of 20 trainings, and 45 allocations: more than any test of single trials starts.
LONG = Goal(trials=100, verdict_seeds=0)


@contextmanager
def opened(
    plan: Plan[StudyConfig], storage: str | None = None, goal: Goal = LONG
) -> Iterator[SearchStudy]:
    """Open a planned study, in its own file or in another storage."""
    url = choose_storage_url(storage, plan.folder)
    with open_study(plan.recorded, plan.space, plan.folder, url, goal) as study:
        yield study


def start(study: SearchStudy) -> FrozenTrial:
    """Start the next trial of a study that still has one."""
    assert study.num_startable
    return study.trials[study.start_next_trial().trial]
