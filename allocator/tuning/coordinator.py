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
from allocator.training.worker import Finished, Job, Message, WorkerDied
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
        self._workers: dict[str, Worker] = {}
        self._busy: dict[str, int] = {}  # trial number by device
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
        for device in self._devices:
            if device in self._busy or self._study.num_finished + len(self._busy) >= trials:
                continue
            trial = self._study.ask()
            self._busy[device] = trial.number
            self._watcher.started(trial)
            self._submit(device, trial)

    def _submit(self, device: str, trial: FrozenTrial) -> None:
        job = Job(
            trial=trial.number,
            allocation=self._study.space.allocation(trial.params),
            save_to=self._study.adapter_path(trial.number),
        )
        try:
            if device not in self._workers:
                self._workers[device] = self._launch(device)
            self._workers[device].submit(job)
        except WorkerDied as death:
            self._bury(device, death)

    def _round(self) -> None:
        messages: dict[int, tuple[str, Message | WorkerDied]] = {}
        for device, number in self._busy.items():
            try:
                messages[number] = device, self._workers[device].receive()
            except WorkerDied as death:
                messages[number] = device, death
        for number in sorted(messages):
            device, message = messages[number]
            if isinstance(message, WorkerDied):
                self._bury(device, message)
            elif isinstance(message, Finished):
                self._finish(device, message)
            else:
                self._study_boundary(device, message.step, message.score, message.loss)

    def _study_boundary(self, device: str, step: int, score: float, loss: float) -> None:
        number = self._busy[device]
        verdict = self._study.on_boundary(number, step, score, loss)
        self._watcher.reached(self._study.trials[number], step, score)
        try:
            self._workers[device].answer(verdict)
        except WorkerDied as death:
            self._bury(device, death)

    def _finish(self, device: str, message: Finished) -> None:
        del self._busy[device]
        self._deaths = 0
        self._study.tell(message.trial, message.outcome)
        self._watcher.ended(self._study.trials[message.trial])

    def _bury(self, device: str, death: WorkerDied) -> None:
        """Give up a dead worker; its trial is tried once more, by a new one."""
        number = self._busy.pop(device)
        self._workers.pop(device).close()
        self._deaths += 1
        retry = self._study.attempts(number) < _ATTEMPTS
        self._study.fail(number, str(death), retry=retry)
        self._watcher.ended(self._study.trials[number])
        if self._deaths >= _DEATHS:
            raise StudyError(
                f"{self._deaths} workers in a row died, the last in trial {number}: {death}; "
                "their messages are above"
            )
