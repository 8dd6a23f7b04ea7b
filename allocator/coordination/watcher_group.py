"""Several watchers as one."""

from __future__ import annotations

from allocator.coordination.protocols import Watcher
from allocator.training.messages import Report, Stage


class WatcherGroup:
    """Tell several watchers, in their order, what one would be told.

    Args:
        watchers: The watchers.
    """

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def on_stage(self, stage: Stage) -> None:
        """Tell all what a worker is doing."""
        for watcher in self._watchers:
            watcher.on_stage(stage)

    def on_ready(self, slots: int) -> None:
        """Tell all that a worker is ready."""
        for watcher in self._watchers:
            watcher.on_ready(slots)

    def on_started(self, number: int) -> None:
        """Tell all that a trial started."""
        for watcher in self._watchers:
            watcher.on_started(number)

    def on_report(self, report: Report) -> None:
        """Tell all that a trial reached a boundary."""
        for watcher in self._watchers:
            watcher.on_report(report)

    def on_ended(self, number: int) -> None:
        """Tell all that a trial ended."""
        for watcher in self._watchers:
            watcher.on_ended(number)
