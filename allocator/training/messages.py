"""Messages between a worker and its coordinator."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.config import Calibration
from allocator.training.measures import Measures

Ending = Literal["completed", "stopped", "diverged", "collapsed"]
StageName = Literal["starting workers", "loading model and data", "timing packs", "training"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One trial to train.

    Attributes:
        trial: Number of the trial.
        spec: Shape, scaling and initialisation of its adapter.
        allocation: Ranks and learning rates that the trial tries.
        seed: Seed of the initial values, of the order of the data, and of what is held out.
        save_to: File that its trained adapter is written to when it is completed.
        is_measured: Whether its spectra and gradients are measured and reported.
        calibration: Calibration that is folded into its head when it is completed; None to fit one
            to the examples that it is scored on.
    """

    trial: int
    spec: AdapterSpec
    allocation: Allocation
    seed: int
    save_to: Path
    is_measured: bool = False
    calibration: Calibration | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The state of a trial at a boundary.

    Attributes:
        trial: Number of the trial.
        ending: How it ended; None while it trains. A trial that `diverged` or `collapsed` has the
            scores of the majority-class predictor; a trial is `stopped` by orders.
        score: Value of the task's metric at the last boundary, on the scoring split.
        loss: Mean loss at the last boundary, on the scoring split, of the answers as trained. A
            saved adapter's answers are calibrated and lose less.
        calibrated_loss: As `compute_calibrated_loss` defines it, at the last boundary.
        majority_loss: Loss of predicting the class shares, or the mean score, on the same examples.
        components: The metric's components at the last boundary.
        best_score: Best score of all boundaries; for information, never for selection, because the
            best of several scores is partly luck.
        step: Number of boundaries reached.
        train_loss: Mean loss over all steps of the training.
        num_parameters: Trainable parameters of the adapter as built.
        head_parameters: Trainable parameters of the head.
        seconds: Wall time since its start, in which other trials of the pack trained too.
        measures: Spectra and gradients; None if the job did not ask for them.
        calibration: As `fit_calibration` fits it at the last boundary, on the scoring split; None
            if the trial diverged or collapsed.
    """

    trial: int
    ending: Ending | None
    score: float
    loss: float
    calibrated_loss: float
    majority_loss: float
    components: Mapping[str, float]
    best_score: float
    step: int
    train_loss: float
    num_parameters: int
    head_parameters: int
    seconds: float
    measures: Measures | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """A worker's message at a boundary, after which it waits for `Orders`.

    Attributes:
        reports: One report for every trial that trained up to this boundary.
        may_start: Whether trials may start here, because an epoch starts.
        slots: Largest number of trials that the worker trains together.
    """

    reports: tuple[Report, ...]
    may_start: bool
    slots: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What workers are doing until their next boundary, for whoever waits; it asks for nothing.

    Attributes:
        name: What they are doing.
        fraction: How far it is; of a training the fraction of the way to the next boundary.
    """

    name: StageName
    fraction: float = 0.0


OnStage = Callable[[Stage], None]
"""Function that is told what workers are doing."""


def ignore_stage(stage: Stage) -> None:
    """Show nothing of what workers are doing."""
    del stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """Orders to a worker for the time until the next boundary.

    Attributes:
        stop: Numbers of the trials that end at this boundary.
        jobs: Trials that start at this boundary.
    """

    stop: frozenset[int] = frozenset()
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The exception that ended a worker, as text, because not every exception can be sent.

    Attributes:
        words: Its type, and the first line of its message.
        traceback: Its traceback, of several lines.
    """

    words: str
    traceback: str

    @classmethod
    def describe(cls, error: BaseException) -> Self:
        """Describe an exception."""
        message = str(error).strip().partition("\n")[0]
        return cls(
            words=type(error).__name__ + (f": {message}" if message else ""),
            traceback="".join(traceback.format_exception(error)).rstrip(),
        )


class WorkerDied(Exception):  # noqa: N818  # an event to handle, not a mistake to report
    """A worker ended before its trials did.

    Args:
        device: The worker's device.
        exit_code: Exit code of its process; a negative one is the signal that ended it. None if
            the device is gone as well.
        failure: The exception that ended it, if it was one.
    """

    def __init__(self, device: str, exit_code: int | None, failure: Failure | None = None) -> None:
        how = "is gone" if exit_code is None else f"died, exit code {exit_code}"
        if failure is not None:
            how = f"failed: {failure.words}"
        super().__init__(f"worker on {device} {how}")
        self.exit_code, self.failure = exit_code, failure
