"""What a worker and its coordinator tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from allocator.allocation import Allocation
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.training.measures import Measures

Ending = Literal["completed", "stopped", "diverged", "collapsed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One trial to train.

    Attributes:
        trial: Its number.
        spec: What its adapter is, apart from its ranks.
        allocation: What it tries.
        save_to: Where its trained adapter goes if it is completed.
        is_measured: Whether its spectra and gradients are reported too.
    """

    trial: int
    spec: AdapterSpec
    allocation: Allocation
    save_to: Path
    is_measured: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Where a trial stands at a boundary.

    Attributes:
        trial: Its number.
        ending: How it ended, or None while it trains. A trial that `diverged` or `collapsed` is
            scored as the majority-class predictor; one is `stopped` by orders.
        score: At the last boundary.
        loss: At the last boundary, on the scoring split.
        calibrated_loss: The same with confidence put right first.
        components: The metric's components at the last boundary.
        best_score: Of all boundaries; for information, never for selection.
        step: Boundaries reached.
        train_loss: Mean loss over all steps of the training.
        num_parameters: Trainable parameters of the adapter as built.
        head_parameters: Trainable parameters of the head.
        seconds: Wall time since its start, which it shared with its neighbours.
        measures: Spectra and gradients, where the job asked for them.
    """

    trial: int
    ending: Ending | None
    score: float
    loss: float
    calibrated_loss: float
    components: Mapping[str, float]
    best_score: float
    step: int
    train_loss: float
    num_parameters: int
    head_parameters: int
    seconds: float
    measures: Measures | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """What a worker tells at a boundary; it waits for orders then.

    Attributes:
        reports: One for every trial that it trained.
        may_start: Whether trials may start here: where an epoch does.
        slots: Trials that it trains together at most.
    """

    reports: tuple[Report, ...]
    may_start: bool
    slots: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What a worker is to do until the next boundary.

    Attributes:
        stop: Trials that end here.
        jobs: Trials that start here.
    """

    stop: frozenset[int] = frozenset()
    jobs: tuple[Job, ...] = ()


class WorkerDied(Exception):  # noqa: N818  # an event to handle, not a mistake to report
    """A worker process that ended before its trials did.

    Args:
        device: The worker's device.
        exit_code: Of the process; a negative one is the signal that ended it. None where the
            device is gone with it.
    """

    def __init__(self, device: str, exit_code: int | None) -> None:
        how = "is gone" if exit_code is None else f"died, exit code {exit_code}"
        super().__init__(f"worker on {device} {how}")
        self.exit_code = exit_code
