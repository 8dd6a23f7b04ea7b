"""Distribute trials to workers and collect their reports, in rounds.

In each round, every worker trains its trials to their next boundary. Only then does the coordinator
decide which trials stop and which start, in the order of their numbers. So the result does not
depend on which worker was faster, and a seed always produces the same study.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from allocator.coordination.protocols import Trials, Watcher, Worker
from allocator.errors import StudyError
from allocator.training.messages import Boundary, Failure, Job, Orders, Report, Stage, WorkerDied

_ATTEMPTS = 2  # a trial is given up when its worker has died this often
_DEATHS = 4  # the run fails after this many deaths of workers without a trial ending in between


class Coordinator:
    """Start, follow and end the trials that workers train.

    Args:
        trials: The trials to train.
        launch: Starts a worker on a device; its second argument is the number of trials that the
            worker trains together, or None for the worker to measure which number is best.
        devices: Names of the devices, each of which gets one worker.
        watcher: Shows the progress.
        slots: Trials that a worker trains together, in place of the number that `trials` recorded.
        waiting: Context in which the coordinator waits for workers and can be interrupted.
    """

    def __init__(
        self,
        trials: Trials,
        launch: Callable[[str, int | None], Worker],
        devices: Sequence[str],
        watcher: Watcher,
        *,
        slots: int | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._trials, self._launch, self._devices, self._watcher = trials, launch, devices, watcher
        self._slots, self._waiting = slots or trials.slots, waiting
        if slots is not None:
            trials.slots = slots
        # A place is the index of a device; these mappings and the set `_gone` have places as keys.
        self._workers: dict[int, Worker] = {}
        self._boundaries: dict[int, Boundary] = {}  # the last one of each worker
        self._training: dict[int, set[int]] = {}  # numbers of the trials in training
        self._gone: set[int] = set()  # places whose device left together with its worker
        self._stop: set[int] = set()  # numbers of the trials that the next orders stop
        # Number of trials that train again after a death, each alone in its pack: the one that
        # caused the death would otherwise end the others of its pack again.
        self._alone = 0
        self._deaths = 0
        self._was_ready = False  # whether a worker ever was
        self._shown: set[str] = set()  # words of the failures whose tracebacks have been shown

    def run(self, *, timeout: float | None = None) -> bool:
        """Train until no trial is left, or time is up.

        Trials that run when time is up are trained to their end. An interrupt breaks them off, and
        the next run of the same command starts them again.

        Args:
            timeout: Seconds after which no new trial is started.

        Returns:
            Whether no trial is left, as far as is known: False if time was up.

        Raises:
            StudyError: If workers keep dying, or the first fails before it is ready.
        """
        # Monotonic, because a correction of the system's clock must not end a search.
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        try:
            while True:
                is_time_up = time.monotonic() >= deadline
                startable = 0 if is_time_up else self._trials.num_startable
                if not startable and not self._num_training:
                    return not is_time_up
                self._launch_workers(startable)
                self._send_orders(self._start_trials(startable))
                self._process_reports()
        finally:  # also after an interrupt or an error: what has finished is kept
            self._trials.interrupt_running()
            for worker in self._workers.values():
                worker.close()

    @property
    def _num_training(self) -> int:
        return sum(map(len, self._training.values()))

    def _launch_workers(self, startable: int) -> None:
        """Start the workers that new trials need, and wait until they are ready."""
        present = [place for place in range(len(self._devices)) if place not in self._gone]
        if not present:
            raise StudyError("all devices are gone; run the same command to go on")
        # Start no more workers than there are trials for them: a worker takes seconds to start.
        new = [place for place in present[:startable] if place not in self._workers]
        if new:
            self._watcher.on_stage(Stage(name="starting workers"))
        while new:
            # If the number of slots is unknown, the first worker measures it for all.
            together = len(new) if self._slots else 1
            # All start before the first is waited for, so that they load the model side by side.
            for place in new[:together]:
                self._workers[place] = self._launch(self._devices[place], self._slots)
                self._training[place] = set()
            for place in new[:together]:
                self._receive_boundary(place)
            new = new[together:]

    def _start_trials(self, startable: int) -> dict[int, list[Job]]:
        """Start trials while workers have free slots, on the emptiest worker first."""
        jobs: dict[int, list[Job]] = {place: [] for place in self._workers}
        for _ in range(startable):
            open_places = [place for place in jobs if self._has_free_slot(place)]
            if not open_places:
                break
            # Among equally empty workers take the first, so that timing does not matter.
            place = min(open_places, key=lambda p: (len(self._training[p]), p))
            job = self._trials.start_next_trial()
            # Retried trials start before any other, so the next ones started are those to isolate.
            self._alone = max(0, self._alone - 1)
            self._training[place].add(job.trial)
            self._watcher.on_started(job.trial)
            jobs[place].append(job)
        return jobs

    def _has_free_slot(self, place: int) -> bool:
        boundary = self._boundaries[place]
        slots = 1 if self._alone else boundary.slots
        # Trials start only with an epoch, so that all see the same batches in the same order.
        return boundary.may_start and len(self._training[place]) < slots

    def _send_orders(self, jobs: Mapping[int, list[Job]]) -> None:
        # Every worker gets all numbers, and passes over those that it does not train.
        orders = {
            place: Orders(stop=frozenset(self._stop), jobs=tuple(jobs[place])) for place in jobs
        }
        self._stop = set()
        for place, order in orders.items():
            try:
                self._workers[place].send_orders(order)
            except WorkerDied as death:
                self._remove_dead(place, death)
        # All workers train at the same time, so waiting for them one by one costs nothing.
        for place in [place for place in orders if place in self._workers]:
            self._receive_boundary(place)

    def _receive_boundary(self, place: int) -> None:
        try:
            # The only place where an interrupt is let through: nothing is half written here.
            with self._waiting():
                boundary = self._workers[place].receive_boundary(self._watcher.on_stage)
        except WorkerDied as death:
            self._remove_dead(place, death)
            return
        self._boundaries[place] = boundary
        self._was_ready = True
        # Fewer slots than were asked for: memory ran out, and the worker has halved its pack.
        if self._slots is None or boundary.slots < self._slots:
            self._slots = boundary.slots
            self._trials.slots = boundary.slots
            self._watcher.on_ready(boundary.slots)

    def _process_reports(self) -> None:
        """Add all scores of a round to the trials, then decide in order of number which end."""
        reports = sorted(
            (report for boundary in self._boundaries.values() for report in boundary.reports),
            key=lambda report: report.trial,
        )
        for report in reports:
            # Other endings come with the majority's score, which is not one of the trial's own.
            if report.ending in (None, "completed"):
                self._trials.add_report(report)
                self._watcher.on_report(report)
        # Decide only now, because whether a trial stops depends on the scores of the others.
        for report in reports:
            ended = report
            if report.ending is None:
                if not self._trials.should_stop(report.trial):
                    continue
                self._stop.add(report.trial)
                ended = dataclasses.replace(report, ending="stopped")
            self._end_trial(ended)

    def _end_trial(self, report: Report) -> None:
        for training in self._training.values():
            training.discard(report.trial)
        # A trial ended, so workers do not die of something that all trials have in common.
        self._deaths = 0
        self._trials.tell(report)
        self._watcher.on_ended(report.trial)

    def _remove_dead(self, place: int, death: WorkerDied) -> None:
        """Remove a dead worker; its trials are tried once more, one at a time, by a new worker.

        If the device left the cluster, its trials did not cause the death, so that no attempt
        counts.
        """
        is_gone = death.exit_code is None
        if death.failure is not None:
            self._show_once(death.failure)
        self._workers.pop(place).close()
        # A worker that died before it was ready has none.
        self._boundaries.pop(place, None)
        if death.failure is not None and not self._was_ready:
            # Most likely of something that all have in common: the next would fail too.
            raise StudyError(f"{death}, before it was ready to train")
        # In order of number, so that retries are queued in the same order every time.
        for number in sorted(self._training.pop(place)):
            retry = is_gone or self._trials.count_attempts(number) < _ATTEMPTS
            # A device that left says nothing against its trials: they may share a pack again.
            self._alone += retry and not is_gone
            self._trials.tell_failure(number, str(death), retry=retry)
            self._watcher.on_ended(number)
        if is_gone:
            self._gone.add(place)
            return
        if death.exit_code == -signal.SIGKILL and self._slots is not None:
            # Linux kills a process when memory runs out; half as many trials need less memory.
            self._slots = self._trials.slots = max(1, self._slots // 2)
        self._deaths += 1
        if self._deaths >= _DEATHS:
            remedy = "" if death.failure else "; if memory runs out, lower --slots or --batch-size"
            raise StudyError(f"{self._deaths} workers in a row ended, the last: {death}{remedy}")

    def _show_once(self, failure: Failure) -> None:
        """Print the traceback of a failure, unless one in the same words has been printed."""
        if failure.words not in self._shown:
            self._shown.add(failure.words)
            # A display that redraws its last line prints this above it.
            print(failure.traceback, file=sys.stderr)
