"""Errors for bad input, each one line that names the value, the rule and a remedy."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class AllocatorError(Exception):
    """A mistake that the user can correct; commands print its one line and exit with status 2."""


class BudgetError(AllocatorError):
    """A budget that no allocation, or no sensible allocation, can meet.

    Args:
        message: The message, one line.
        smallest: The smallest budget that would suffice; infinity if it is not known.
    """

    def __init__(self, message: str, smallest: float = math.inf) -> None:
        super().__init__(message)
        self.smallest = smallest


class SpaceError(AllocatorError):
    """A search space or an allocation that is impossible."""


class TaskError(AllocatorError):
    """A task that is not known, or whose data cannot be found."""


class DataError(AllocatorError):
    """A data file whose content breaks its format."""


class ModelError(AllocatorError):
    """A model that cannot be found, or that cannot be adapted."""


class DeviceError(AllocatorError):
    """A device or a cluster that does not exist, does not answer or has no free place."""


class StudyError(AllocatorError):
    """A study that is missing, busy, or made with another configuration."""


class StorageError(AllocatorError):
    """A storage URL that does not answer."""


class LoggerError(AllocatorError):
    """A logger whose package is missing, or whose server does not answer or refuses."""


class HubError(AllocatorError):
    """A repository on the Hugging Face hub that cannot be made or written."""


class CheckpointError(AllocatorError):
    """A saved adapter or configuration that is damaged or belongs elsewhere."""


class UnknownNameError(AllocatorError):
    """An unknown name of a task, a sampler, a prior and so on.

    Args:
        kind: Kind of thing that the name stands for, such as `task`.
        name: The name.
        known: The names that are known.
        advice: Further remedy, appended to the message.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], advice: str = "") -> None:
        super().__init__(kind, name, tuple(known), advice)  # all arguments, for pickling
        self._message = describe_unknown(kind, name, self.args[2]) + advice

    def __str__(self) -> str:
        return self._message


def describe_unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Describe an unknown name, with the nearest one that is known."""
    choices = sorted(known)
    nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown {kind} {name!r}: {hint}known are {', '.join(choices) or 'none'}"
