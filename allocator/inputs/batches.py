"""The interface of splits and their batches, and the order of an epoch's examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Number of batches whose examples are sorted by length together. A larger pool needs less padding
# but mixes lengths less; with 100, padding stays under 2% of the tokens.
_POOL = 100


class Batch(Protocol):
    """Some examples of a split, on the device that trains."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Keyword arguments of the backbone, each of shape (batch, ...)."""

    @property
    def labels(self) -> Tensor:
        """Labels of shape (batch,): class ids, or scores for regression."""


class Split(Protocol):
    """One split of a task, in the form that a model reads."""

    @property
    def labels(self) -> Tensor:
        """Labels of shape (examples,): class ids (int64), or scores (float32) for regression."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Cost of every example, such as its tokens; examples of similar cost share a batch."""

    def __len__(self) -> int: ...

    def make_batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """Make a batch of the examples at `indices`, on a device."""


def order_epoch(split: Split, batch_size: int, *, seed: int) -> list[list[int]]:
    """Divide an epoch's examples into batches of similar length, in random order.

    The order depends on the arguments alone, so all trials of a study see the same one.

    Returns:
        Indices of the examples of every batch; the last batch of a pool may be smaller.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(split))
    lengths = split.lengths
    batches: list[list[int]] = []
    for start in range(0, len(shuffled), _POOL * batch_size):
        pool = shuffled[start : start + _POOL * batch_size]
        # A stable sort keeps the random order of examples of equal length.
        by_length = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [
            by_length[i : i + batch_size].tolist() for i in range(0, len(by_length), batch_size)
        ]
    # Within a pool, batches would otherwise come from short to long.
    return [batches[i] for i in rng.permutation(len(batches))]


def iterate_by_length(
    split: Split, batch_size: int, device: torch.device
) -> Iterator[tuple[list[int], Batch]]:
    """Iterate over a split in the order of length: the indices of every batch, and the batch.

    Evaluation needs no random order, and batches of one length need no padding.
    """
    order = np.argsort(split.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size].tolist()
        yield indices, split.make_batch(indices, device)
