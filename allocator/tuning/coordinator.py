"""Hands trials to workers and their scores to the study, in rounds: one seed gives one study.

In a round every busy worker brings its trial to its next boundary or its end. Only then are
verdicts given and new trials asked for, in the order of their numbers: which worker was faster
decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from optuna.trial import FrozenTrial

from allocator.errors import StudyError
from allocator.training.loop import Verdict
from allocator.training.worker import Boundary, Finished, Job, Message, WorkerDied
from allocator.tuning.study import SearchStudy

_ATTEMPTS = 2  # a trial whose worker died this often is given up
_DEATHS = 4  # in a row, without a trial that ended


class Worker(Protocol):
    """What the coordinator needs of a worker, wherever it runs."""

    def submit(self, job: Job) -> None:
        """Start a trial."""

    def answer(self, verdict: Verdict) -> None:
        """Answer a boundary."""

    def receive(self) -> Message:
        """Wait for the next message of the running trial."""

    def close(self) -> None:
        """End the worker."""


class Watcher(Protocol):
    """Who is told what happens, to show it."""

    def started(self, trial: FrozenTrial) -> None:
        """A trial was handed to a worker."""

    def reached(self, trial: FrozenTrial, step: int, score: float) -> None:
        """A trial reached a boundary."""

    def ended(self, trial: FrozenTrial) -> None:
        """A trial ended, however it did."""


class Coordinator:
    """Owns the study while workers train.

    Args:
        study: The study.
        launch: Starts a worker on a device.
        devices: One worker each.
        watcher: Told what happens.
    """

    def __init__(
        self,
        study: SearchStudy,
        launch: Callable[[str], Worker],
        devices: Sequence[str],
        watcher: Watcher,
    ) -> None:
        self._study, self._launch, self._devices, self._watcher = study, launch, devices, watcher
        self._workers: dict[int, Worker] = {}  # by place: the index of a device
        self._busy: dict[int, int] = {}  # trial number by place
        self._deaths = 0

    def run(self, *, trials: int, timeout: float | None = None) -> None:
        """Search until the study has so many finished trials, or time is up.

        Trials that run when time is up are finished. An interrupt breaks them off, and the next
        run starts them again.

        Args:
            trials: Finished trials of the study, those of earlier runs included.
            timeout: Seconds after which no trial is started.

        Raises:
            StudyError: If workers keep dying.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                if deadline is None or time.monotonic() < deadline:
                    self._fill(trials)
                if not self._busy:
                    return
                self._round()
        finally:
            self._study.interrupt()
            for worker in self._workers.values():
                worker.close()

    def _fill(self, trials: int) -> None:
        for place in range(len(self._devices)):
            if place in self._busy or self._study.num_finished + len(self._busy) >= trials:
                continue
            trial = self._study.ask()
            self._busy[place] = trial.number
            self._watcher.started(trial)
            self._submit(place, trial)

    def _submit(self, place: int, trial: FrozenTrial) -> None:
        job = Job(
            trial=trial.number,
            allocation=self._study.space.allocation(trial.params),
            save_to=self._study.adapter_path(trial.number),
        )
        try:
            if place not in self._workers:
                self._workers[place] = self._launch(self._devices[place])
            self._workers[place].submit(job)
        except WorkerDied as death:
            self._bury(place, death)

    def _round(self) -> None:
        messages: dict[int, tuple[int, Message | WorkerDied]] = {}
        for place, number in self._busy.items():
            try:
                messages[number] = place, self._workers[place].receive()
            except WorkerDied as death:
                messages[number] = place, death
        for number in sorted(messages):
            place, message = messages[number]
            match message:
                case WorkerDied():
                    self._bury(place, message)
                case Finished():
                    self._finish(place, message)
                case Boundary():
                    self._decide(place, message)

    def _decide(self, place: int, boundary: Boundary) -> None:
        number = boundary.trial
        verdict = self._study.on_boundary(number, boundary.step, boundary.score, boundary.loss)
        self._watcher.reached(self._study.trials[number], boundary.step, boundary.score)
        try:
            self._workers[place].answer(verdict)
        except WorkerDied as death:
            self._bury(place, death)

    def _finish(self, place: int, message: Finished) -> None:
        del self._busy[place]
        self._deaths = 0
        self._study.tell(message.trial, message.outcome)
        self._watcher.ended(self._study.trials[message.trial])

    def _bury(self, place: int, death: WorkerDied) -> None:
        """Give up a dead worker; its trial is tried once more, by a new one."""
        number = self._busy.pop(place)
        self._workers.pop(place).close()
        self._deaths += 1
        retry = self._study.attempts(number) < _ATTEMPTS
        self._study.fail(number, str(death), retry=retry)
        self._watcher.ended(self._study.trials[number])
        if self._deaths >= _DEATHS:
            raise StudyError(
                f"{self._deaths} workers in a row died, the last in trial {number}: {death}; "
                "their messages are above"
            )
