"""A list of allocations as the coordinator's source of trials, in place of a study."""

from __future__ import annotations

from pathlib import Path

from allocator.config import Calibration
from allocator.coordination.list_config import ListConfig
from allocator.coordination.records import Records
from allocator.training.messages import Job, Report


class ListedTrials:
    """The allocations of a list that one seed has not trained yet; none is stopped early.

    Args:
        config: The list, and the configuration that its trainings share.
        records: Tables that each training is added to as it ends.
        seed: Seed of these trainings.
        is_measured: Whether spectra and gradients are recorded.
        keeps_adapters: Whether trained adapters are kept.
        calibration: As for `Job`.

    Attributes:
        names: Names of all allocations; a trial's number is its place among them.
        slots: Number of trials that a worker trains together, once it was measured.
        given_up: For each training that is not tried again, by name, why it broke off.
    """

    def __init__(
        self,
        config: ListConfig,
        records: Records,
        seed: int,
        *,
        is_measured: bool = False,
        keeps_adapters: bool = False,
        calibration: Calibration | None = None,
    ) -> None:
        self.config, self.seed = config, seed
        self.slots: int | None = None
        self.given_up: dict[str, str] = {}
        self.records, self._is_measured = records, is_measured
        self._keeps_adapters, self._calibration = keeps_adapters, calibration
        self.names = list(config.allocations)
        # The folder may also have trainings that this list does not ask for.
        self._ended = set(records.read_names(seed)) & set(self.names)
        self._waiting = [name for name in self.names if name not in self._ended]
        self._running: dict[str, list[Report]] = {}
        self._attempts = dict.fromkeys(self.names, 0)

    @property
    def num_startable(self) -> int:
        """Number of allocations that wait."""
        return len(self._waiting)

    @property
    def num_finished(self) -> int:
        """Number of allocations that were trained or given up."""
        return len(self._ended) + len(self.given_up)

    def count_done(self, fraction: float = 0.0) -> float:
        """Count the trainings done; a running one counts by the fraction of its boundaries.

        Args:
            fraction: How far the running ones are on the way to their next boundary.
        """
        boundaries = self.config.training.num_boundaries
        steps = sum(len(reports) + fraction for reports in self._running.values())
        return self.num_finished + steps / boundaries

    def name(self, number: int) -> str:
        """Return the name of the allocation that a trial trains."""
        return self.names[number]

    def start_next_trial(self) -> Job:
        """Start the next allocation that waits, and return its job for a worker."""
        name = self._waiting.pop(0)
        self._running[name] = []
        self._attempts[name] += 1
        listed = self.config.allocations[name]
        return Job(
            trial=self.names.index(name),
            spec=listed.adapter.to_spec(self.config.backbone),
            allocation=listed.allocation,
            seed=self.seed,
            save_to=self._unfinished_adapter_path(name),
            is_measured=self._is_measured,
            calibration=self._calibration,
        )

    def add_report(self, report: Report) -> None:
        """Add a running trial's report at a boundary."""
        self._running[self.name(report.trial)].append(report)

    def should_stop(self, number: int) -> bool:
        """Return False: every allocation of a list is trained to its end."""
        del number
        return False

    def tell(self, report: Report) -> None:
        """Record a training that has ended."""
        name = self.name(report.trial)
        # A completed trial has added its last report already, and `report` is that one again.
        reports = [r for r in self._running.pop(name) if r.ending is None]
        saved = self._unfinished_adapter_path(name)
        is_kept = self._keeps_adapters and report.ending == "completed"
        self.records.add(name, self.seed, [*reports, report], saved if is_kept else None)
        # After it was copied; a training that failed has left none.
        saved.unlink(missing_ok=True)
        self._ended.add(name)

    def count_attempts(self, number: int) -> int:
        """Count how often a trial has been started."""
        return self._attempts[self.name(number)]

    def tell_failure(self, number: int, reason: str, *, retry: bool) -> None:
        """Put a trial that broke off at the front of the queue, or give it up."""
        name = self.name(number)
        self._running.pop(name)
        if retry:
            self._waiting.insert(0, name)
        else:
            self.given_up[name] = reason

    def interrupt_running(self) -> None:
        """Queue the running trials again, in the order of the list."""
        # In the order of the list, as if there had been no interrupt.
        self._waiting = [name for name in self.names if name in {*self._running, *self._waiting}]
        self._running.clear()

    def _unfinished_adapter_path(self, name: str) -> Path:
        return self.records.folder / f"{name}.unfinished"
