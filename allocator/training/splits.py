"""The examples of trainings: what each seed trains on, and what it is scored on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from allocator.inputs.batches import Split, SplitPart

Indices = npt.NDArray[np.intp]

HoldOut = Callable[[int], tuple[Indices, Indices]]
"""Function of a seed; returns the indices of the examples to train on and of those held out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedSplits:
    """The examples of the trainings of one seed.

    Attributes:
        train: Examples to train on.
        scoring: Examples to score on.
    """

    train: SplitPart
    scoring: Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """The examples of all trainings.

    Attributes:
        train: Examples to train on, or to hold out.
        metric: Name of the task's metric.
        num_labels: Number of the head's outputs.
        scoring: Examples that trainings of all seeds are scored on, while they train on all of
            `train`; None if every seed holds out its own part of `train`.
        hold_out: Divides `train` for a seed; None if `scoring` is given.
    """

    train: Split
    metric: str
    num_labels: int = 1
    scoring: Split | None = None
    hold_out: HoldOut | None = None
    _of_seeds: dict[int, SeedSplits] = field(default_factory=dict, repr=False)

    def of_seed(self, seed: int) -> SeedSplits:
        """Return the examples of a seed, which are the same at every call."""
        if seed not in self._of_seeds:
            self._of_seeds[seed] = self._divide(seed)
        return self._of_seeds[seed]

    def _divide(self, seed: int) -> SeedSplits:
        if self.scoring is not None:
            everything = SplitPart(split=self.train, indices=np.arange(len(self.train)))
            return SeedSplits(train=everything, scoring=self.scoring)
        if self.hold_out is None:
            raise ValueError("splits need examples to score on, or a function that holds some out")
        kept, held_out = self.hold_out(seed)
        return SeedSplits(
            train=SplitPart(split=self.train, indices=kept),
            scoring=SplitPart(split=self.train, indices=held_out),
        )
