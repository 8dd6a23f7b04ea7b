"""What the coordinator does with trials whose worker dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.config import AdapterConfig
from allocator.coordination.coordinator import Coordinator
from allocator.errors import StudyError
from allocator.training.messages import Boundary, Failure, Job, OnStage, Orders, Report, WorkerDied
from allocator.tuning.screen.watchers import QuietWatcher
from tests.reports import make_report

SHAPE = AdapterShape(
    construction="matrix",
    factorization="matrix",
    backbone=BackboneShape(d_in=8, heads=2, head_size=4, layers=1),
)


class Trials:
    """Numbered trials; one that broke off is tried again before any other."""

    def __init__(self, total: int) -> None:
        self.slots: int | None = None
        self._waiting = list(range(total))
        self.ended: list[int] = []
        self.given_up: list[int] = []
        self._attempts = [0] * total

    @property
    def num_startable(self) -> int:
        return len(self._waiting)

    def start_next_trial(self) -> Job:
        number = self._waiting.pop(0)
        self._attempts[number] += 1
        return Job(
            trial=number,
            spec=AdapterSpec(shape=SHAPE, config=AdapterConfig()),
            allocation=Allocation(ranks={"rank": 1}, learning_rate=1e-3),
            seed=0,
            save_to=Path(),
        )

    def add_report(self, report: Report) -> None:
        """Keep nothing."""

    def should_stop(self, number: int) -> bool:
        del number
        return False

    def tell(self, report: Report) -> None:
        self.ended.append(report.trial)

    def count_attempts(self, number: int) -> int:
        return self._attempts[number]

    def tell_failure(self, number: int, reason: str, *, retry: bool) -> None:
        del reason
        if retry:
            self._waiting = sorted([number, *self._waiting])
        else:
            self.given_up.append(number)

    def interrupt_running(self) -> None:
        """Leave none behind."""


class PoisonedWorker:
    """Completes every trial at its first boundary, and dies of one of them."""

    def __init__(self, poison: int, slots: int) -> None:
        self._poison, self._slots = poison, slots
        self._jobs: tuple[Job, ...] = ()

    def send_orders(self, orders: Orders) -> None:
        self._jobs = orders.jobs

    def receive_boundary(self, on_stage: OnStage) -> Boundary:
        del on_stage
        numbers = [job.trial for job in self._jobs]
        if self._poison in numbers:
            raise WorkerDied("cpu", 1)
        reports = tuple(make_report(number) for number in numbers)
        return Boundary(reports=reports, may_start=True, slots=self._slots)

    def close(self) -> None:
        """Hold nothing."""


def test_a_trial_that_kills_its_worker_takes_no_other_with_it() -> None:
    trials = Trials(6)

    def launch(device: str, slots: int | None) -> PoisonedWorker:
        del device
        return PoisonedWorker(poison=1, slots=slots or 4)

    Coordinator(trials, launch, ("cpu",), QuietWatcher()).run()
    assert trials.given_up == [1]
    assert sorted(trials.ended) == [0, 2, 3, 4, 5]


class LeavingWorker(PoisonedWorker):
    """Is gone with its device as soon as it has something to train."""

    def receive_boundary(self, on_stage: OnStage) -> Boundary:
        if self._jobs:
            raise WorkerDied("leaving", None)
        return super().receive_boundary(on_stage)


def launch_by_name(device: str, slots: int | None) -> PoisonedWorker:
    kind = LeavingWorker if device.startswith("leaving") else PoisonedWorker
    return kind(poison=-1, slots=slots or 2)


def test_a_device_that_is_gone_leaves_its_trials_to_the_others() -> None:
    trials = Trials(6)
    devices = ("staying", "leaving")
    Coordinator(trials, launch_by_name, devices, QuietWatcher()).run()
    assert sorted(trials.ended) == list(range(6))
    assert not trials.given_up


def test_a_search_without_any_device_left_ends_and_gives_no_trial_up() -> None:
    trials = Trials(6)
    devices = ("leaving", "leaving too")
    with pytest.raises(StudyError, match=r"^all devices are gone; run the same command"):
        Coordinator(trials, launch_by_name, devices, QuietWatcher()).run()
    assert not trials.given_up


class FailingWorker(PoisonedWorker):
    """Fails as soon as it has something to train, always in the same way."""

    def receive_boundary(self, on_stage: OnStage) -> Boundary:
        if self._jobs:
            raise WorkerDied("cpu", 1, describe("no such kernel"))
        return super().receive_boundary(on_stage)


class UnreadyWorker(PoisonedWorker):
    """Fails before it is ready."""

    def receive_boundary(self, on_stage: OnStage) -> Boundary:
        del on_stage
        raise WorkerDied("cpu", 1, describe("no such file"))


def describe(message: str) -> Failure:
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return Failure.describe(error)


def test_a_failure_that_comes_again_is_shown_once_and_named_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def launch(device: str, slots: int | None) -> FailingWorker:
        del device
        return FailingWorker(poison=-1, slots=slots or 2)

    with pytest.raises(StudyError) as raised:
        Coordinator(Trials(6), launch, ("cpu",), QuietWatcher()).run()
    last = "worker on cpu failed: RuntimeError: no such kernel"
    assert str(raised.value) == f"4 workers in a row ended, the last: {last}"
    shown = capsys.readouterr().err
    assert shown.count("Traceback") == 1
    assert shown.endswith("RuntimeError: no such kernel\n")


def test_a_worker_that_fails_before_it_is_ready_is_not_tried_again() -> None:
    launched: list[str] = []

    def launch(device: str, slots: int | None) -> UnreadyWorker:
        launched.append(device)
        return UnreadyWorker(poison=-1, slots=slots or 2)

    with pytest.raises(StudyError, match=r"no such file, before it was ready to train$"):
        Coordinator(Trials(6), launch, ("cpu",), QuietWatcher()).run()
    assert launched == ["cpu"]
