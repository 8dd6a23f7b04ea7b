"""Splits in memory, batches of them, and tokens: the splits of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_POOL = 100  # batches that are sorted by length together: padding stays under 2%


class Batch(Protocol):
    """Some examples on the device that trains."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Keyword arguments of the backbone, each of shape (batch, ...)."""

    @property
    def labels(self) -> Tensor:
        """Shape (batch,): class ids, or scores for regression."""


class Split(Protocol):
    """One split of a task, ready to be cut into batches."""

    @property
    def labels(self) -> Tensor:
        """Shape (examples,): class ids (int64), or scores (float32) for regression."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """What every example costs; those that cost alike share a batch."""

    def __len__(self) -> int: ...

    def make_batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """Join some examples on a device."""


def order_epoch(split: Split, batch_size: int, *, seed: int) -> list[list[int]]:
    """Put the examples into batches of similar length, in random order.

    The order depends on its arguments alone, so that all trials of a study see the same one.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(split))
    lengths = split.lengths
    batches: list[list[int]] = []
    for start in range(0, len(shuffled), _POOL * batch_size):
        pool = shuffled[start : start + _POOL * batch_size]
        by_length = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [
            by_length[i : i + batch_size].tolist() for i in range(0, len(by_length), batch_size)
        ]
    return [batches[i] for i in rng.permutation(len(batches))]


def iterate_by_length(
    split: Split, batch_size: int, device: torch.device
) -> Iterator[tuple[list[int], Batch]]:
    """Walk a split for evaluation: indices of every batch, and the batch."""
    order = np.argsort(split.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size].tolist()
        yield indices, split.make_batch(indices, device)
