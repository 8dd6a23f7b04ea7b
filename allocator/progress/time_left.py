"""The time that the rest of a run takes, estimated from the trainings that it has made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Clock = Callable[[], float]
"""Function that returns the time in seconds since some moment."""

_BRIEF, _LONG = 60, 100 * 60  # seconds below which minutes, and from which hours, are not counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of what a run has to do.

    Attributes:
        trainings: Number of trainings that would take as long.
        seconds: Seconds that it takes besides, however long a training takes.
    """

    trainings: float = 0.0
    seconds: float = 0.0


class TimeLeft:
    """Estimates the time that the parts of a run take from now on.

    The parts that train say how far they are, which measures what a training takes. Nothing can be
    estimated before the first of them has come some way.

    Args:
        parts: The parts of the run by name, in their order.
        clock: Tells the time.
    """

    def __init__(self, parts: Mapping[str, Part], clock: Clock) -> None:
        self._parts, self._clock = dict(parts), clock
        self._current = ""
        self._fraction, self._at = 0.0, clock()
        self._first: tuple[float, float] | None = None  # time and fraction of the first news
        self._pace: float | None = None  # seconds that a training takes

    def begin(self, name: str) -> None:
        """Begin a part; those before it are over."""
        names = list(self._parts)
        self._parts = {n: self._parts[n] for n in names[names.index(name) :]}
        self._current = name
        self._fraction, self._at, self._first = 0.0, self._clock(), None

    def advance(self, fraction: float) -> None:
        """Take note of how much of the part in progress is done.

        The first call starts its clock, so that neither what another run has done counts, nor the
        time that workers take to start.
        """
        now = self._clock()
        self._fraction, self._at = fraction, now
        if self._first is None:
            self._first = now, fraction
        began, before = self._first
        trainings = (fraction - before) * self._parts[self._current].trainings
        if trainings > 0:
            self._pace = (now - began) / trainings

    def estimate(self) -> float | None:
        """Estimate the seconds that are left; None if nothing has been measured yet."""
        trainings = sum(part.trainings for part in self._parts.values())
        seconds = sum(part.seconds for part in self._parts.values())
        if self._current:
            mine = self._parts[self._current]
            trainings -= self._fraction * mine.trainings
            # What a part takes besides its trainings comes before them.
            seconds -= mine.seconds if self._first else 0.0
        if trainings > 0 and self._pace is None:
            return None
        left = seconds + trainings * (self._pace or 0.0)
        # Less with every second, also while nothing is heard of.
        return max(0.0, left - (self._clock() - self._at))


def describe_left(seconds: float) -> str:
    """Describe an estimated time in words."""
    if seconds < _BRIEF:
        return "less than a minute left"
    minutes = math.ceil(seconds / 60)
    if seconds < _LONG:
        return f"about {minutes} min left"
    return f"about {minutes // 60} h {minutes % 60:02d} min left"


def describe_elapsed(seconds: float) -> str:
    """Describe a time that has passed as a clock does, as `3:07` or `1:03:07`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
