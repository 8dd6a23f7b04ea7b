"""Trials that train together: one forward and one backward pass of the frozen backbone for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from allocator.backbone.backbone import Backbone
from allocator.errors import ModelError
from allocator.inputs.batches import Batch
from allocator.training.slot import Slot

# Shapes: S slots, B sentences, T tokens, W width of hidden states

Result = TypeVar("Result")


class Pack:
    """Slots on one backbone, which never influence each other.

    Where memory runs out, the slots take turns in groups half as large, from the step on that did
    not fit: the same training, slower.

    Args:
        backbone: The frozen backbone.
        width: Slots in one pass of the backbone at most; one where it takes no more.
        dropout: Dropout on the inputs of adapters, while training.

    Attributes:
        slots: The trials in training.
        width: Slots in one pass of the backbone at most.
    """

    def __init__(self, backbone: Backbone, *, width: int, dropout: float = 0.0) -> None:
        self.backbone, self._dropout = backbone, dropout
        self.width = width if backbone.packs else 1
        self.slots: list[Slot] = []

    def step(self, batch: Batch) -> None:
        """Take one optimizer step in every slot; nothing here waits for the device."""
        self.run_in_turns(lambda slots: self._train(slots, batch))

    def hidden(self, slots: Sequence[Slot], batch: Batch, *, dropout: float = 0.0) -> Tensor:
        """Compute the hidden states of some slots, shape (S, B, T, W)."""
        self.backbone.sites.use(
            [slot.pairs() for slot in slots],
            dropout=dropout,
            generators=[slot.generator for slot in slots],
        )
        hidden = self.backbone(batch.inputs, len(slots))
        return hidden.view(len(slots), -1, *hidden.shape[1:])

    def diverged(self) -> list[Slot]:
        """List the slots that had a loss that was not finite."""
        if not self.slots:
            return []
        sums = torch.stack([slot.loss_sum for slot in self.slots]).tolist()  # host-device sync
        return [s for s, total in zip(self.slots, sums, strict=True) if not math.isfinite(total)]

    def run_in_turns(self, compute: Callable[[Sequence[Slot]], Result]) -> list[Result]:
        """Compute something for all slots, in groups of `width`.

        Raises:
            ModelError: If memory does not suffice for one slot.
        """
        results: list[Result] = []
        done = 0
        while done < len(self.slots):
            group = self.slots[done : done + self.width]
            try:
                results.append(compute(group))
                done += len(group)
            except RuntimeError as problem:
                if not is_out_of_memory(problem):
                    raise
                self._halve(group)
        return results

    def _train(self, slots: Sequence[Slot], batch: Batch) -> None:
        hidden_SBTW = self.hidden(slots, batch, dropout=self._dropout)
        losses = [
            slot.loss(hidden_BTW, batch)
            for slot, hidden_BTW in zip(slots, hidden_SBTW, strict=True)
        ]
        torch.stack(losses).sum().backward()
        for slot, loss in zip(slots, losses, strict=True):
            slot.update(loss)

    def _halve(self, group: Sequence[Slot]) -> None:
        for slot in group:
            slot.drop_gradients()
        if len(group) == 1:
            raise ModelError("one trial does not fit into memory; lower --batch-size") from None
        self.width = len(group) // 2
        if self.backbone.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(problem: RuntimeError) -> bool:
    """Tell whether a device, or the machine itself, had no memory left."""
    return isinstance(problem, torch.OutOfMemoryError) or "allocate memory" in str(problem)
