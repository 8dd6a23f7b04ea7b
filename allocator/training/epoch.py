"""The batches of an epoch for trainings of several seeds side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from allocator.config import TrainingConfig
from allocator.inputs.batches import JointBatch, order_epoch
from allocator.training.splits import Splits


class Epoch:
    """The batches of an epoch, the same in every epoch, in portions that end at a boundary.

    Trainings of different seeds read different examples, but of about the same length in each step,
    so that they can share a pass of the backbone.

    Args:
        splits: The examples of all trainings.
        config: The training configuration.
        device: Device that the batches are put on.

    Attributes:
        num_steps: Steps of an epoch, the same for all seeds.

    Raises:
        ValueError: If an epoch has fewer steps than boundaries.
    """

    def __init__(self, splits: Splits, config: TrainingConfig, device: torch.device) -> None:
        self._splits, self._config, self._device = splits, config, device
        self._lengths = splits.train.lengths
        self._orders: dict[int, list[list[int]]] = {}
        self._seeds: tuple[int, ...] = ()
        self._batches: list[JointBatch] = []
        # Any seed will do: all hold out equally many examples.
        self.num_steps = len(self._order_seed(config.seed))
        if self.num_steps < config.boundaries_per_epoch:
            raise ValueError(
                f"an epoch of {self.num_steps} steps cannot have "
                f"{config.boundaries_per_epoch} boundaries"
            )

    def make_portion(self, number: int, seeds: Sequence[int]) -> list[JointBatch]:
        """Make the batches that lead to a boundary.

        Args:
            number: Number of the boundary in the epoch, from 0; the last is the end of the epoch.
            seeds: Seeds of the trainings.

        Returns:
            One batch for each step, with one block of rows for each seed, in their order.
        """
        if tuple(seeds) != self._seeds:
            # Kept as long as the seeds stay the same: all epochs share these batches.
            self._seeds, self._batches = tuple(seeds), self._make_batches(seeds)
        per_epoch = self._config.boundaries_per_epoch
        # Rounding spreads the remainder: portions differ by at most one batch.
        start, end = (round(self.num_steps * mark / per_epoch) for mark in (number, number + 1))
        return self._batches[start:end]

    def _make_batches(self, seeds: Sequence[int]) -> list[JointBatch]:
        steps = zip(*(self._order_seed(seed) for seed in seeds), strict=True)
        return [self._make_batch(blocks) for blocks in steps]

    def _make_batch(self, blocks: Sequence[list[int]]) -> JointBatch:
        widths = [int(self._lengths[block].max()) for block in blocks]
        return JointBatch(
            # From the whole split, so that the rows of all seeds are padded to the same length.
            batch=self._splits.train.make_batch(
                [i for block in blocks for i in block], self._device
            ),
            widths=[None if width == max(widths) else width for width in widths],
        )

    def _order_seed(self, seed: int) -> list[list[int]]:
        """List the examples of every step of a seed, as indices of the whole split."""
        if seed not in self._orders:
            part = self._splits.of_seed(seed).train
            order = order_epoch(part.lengths, self._config.batch_size, seed=seed)
            self._orders[seed] = [part.indices[batch].tolist() for batch in order]
        return self._orders[seed]
