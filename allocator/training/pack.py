"""Packs: slots that share one pass of the frozen backbone, to answer or to train."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from allocator.backbone.backbone import Backbone
from allocator.errors import ModelError
from allocator.inputs.batches import Batch
from allocator.training.slot import Slot
from allocator.training.training_slot import TrainingSlot

# Shapes: S slots, B examples, T tokens, W width of hidden states

AnySlot = TypeVar("AnySlot", bound=Slot)
Result = TypeVar("Result")


class Pack(Generic[AnySlot]):
    """Slots that answer together on one backbone and never influence each other.

    If memory runs out, the pack halves its width, and from then on the slots take turns. The
    results are the same, only slower.

    Args:
        backbone: The frozen backbone.
        slots: The slots.
        width: Largest number of slots in one pass of the backbone; 1 if the backbone cannot run
            several.

    Attributes:
        slots: The slots; the owner of the pack may replace them between steps.
        width: Largest number of slots in one pass of the backbone.
    """

    def __init__(self, backbone: Backbone, slots: Sequence[AnySlot] = (), *, width: int) -> None:
        self.backbone = backbone
        self.slots: list[AnySlot] = list(slots)
        self.width = width if backbone.packs else 1

    def compute_hidden(
        self,
        slots: Sequence[AnySlot],
        batch: Batch,
        *,
        dropout: Sequence[float] = (),
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Compute the hidden states of a batch for some slots, each with its own updates.

        Args:
            slots: At most `width` of the pack's slots.
            batch: The batch, the same for all slots.
            dropout: As for `PackedSites.set_updates`.
            generators: As for `PackedSites.set_updates`.

        Returns:
            Shape (S, B, T, W).
        """
        pairs = [slot.compute_pairs() for slot in slots]
        # All packs share the backbone's sites, so updates are set before every pass.
        self.backbone.sites.set_updates(pairs, dropout=dropout, generators=generators)
        # Slots lie along the batch: (S * B, T, W).
        hidden = self.backbone(batch.inputs, len(slots))
        return hidden.view(len(slots), -1, *hidden.shape[1:])

    def run_in_turns(self, compute: Callable[[Sequence[AnySlot]], Result]) -> list[Result]:
        """Compute something for all slots, `width` slots at a time.

        Args:
            compute: Called with one group of slots after the other; if memory did not suffice for a
                group, called again with half as many slots.

        Returns:
            One result for each group, in the order of the slots.

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
            # Groups that are done keep their results; only this one runs again, in halves.
            except RuntimeError as problem:
                if not is_out_of_memory(problem):
                    raise
                self._halve_width(group)
        return results

    def _halve_width(self, group: Sequence[AnySlot]) -> None:
        if len(group) == 1:
            raise ModelError("one trial does not fit into memory; lower --batch-size") from None
        # Half of the group, not of the width: the last group may be smaller than the others.
        self.width = len(group) // 2
        if self.backbone.device.type == "cuda":
            torch.cuda.empty_cache()  # free blocks that were cached for larger tensors


class TrainingPack(Pack[TrainingSlot]):
    """Slots that train together, in one forward and one backward pass of the backbone for all.

    Args:
        backbone: The frozen backbone.
        slots: The slots.
        width: As for `Pack`.
    """

    def step(self, batch: Batch) -> None:
        """Take one optimizer step in every slot, without waiting for the device."""
        # No slot steps before all gradients are there: a pass that ran out of memory is repeated,
        # and an optimizer step must not be.
        groups = self.run_in_turns(lambda slots: self._compute_gradients(slots, batch))
        for slot, loss in zip(self.slots, itertools.chain.from_iterable(groups), strict=True):
            slot.update(loss)

    def list_diverged(self) -> list[TrainingSlot]:
        """List the slots with a loss that was not finite; this waits for the device."""
        if not self.slots:
            return []
        # Stacked, so that there is one wait for all slots together.
        sums = torch.stack([slot.loss_sum for slot in self.slots]).tolist()  # host-device sync
        return [s for s, total in zip(self.slots, sums, strict=True) if not math.isfinite(total)]

    def _compute_gradients(self, slots: Sequence[TrainingSlot], batch: Batch) -> list[Tensor]:
        states = [slot.generator.get_state() for slot in slots]
        try:
            return self._run_passes(slots, batch)
        except RuntimeError:
            # As if the pass had not begun, so that the next one drops the same inputs.
            for slot, state in zip(slots, states, strict=True):
                slot.generator.set_state(state)
                slot.drop_gradients()
            raise

    def _run_passes(self, slots: Sequence[TrainingSlot], batch: Batch) -> list[Tensor]:
        hidden_SBTW = self.compute_hidden(
            slots,
            batch,
            dropout=[slot.dropout for slot in slots],
            generators=[slot.generator for slot in slots],
        )
        losses = [
            slot.compute_loss(hidden_BTW, batch)
            for slot, hidden_BTW in zip(slots, hidden_SBTW, strict=True)
        ]
        # No slot's parameters appear in another slot's loss, so the gradient of the sum is for
        # every slot the gradient of its own loss.
        torch.stack(losses).sum().backward()
        return [loss.detach() for loss in losses]


def is_out_of_memory(problem: RuntimeError) -> bool:
    """Whether an error says that a device, or the machine itself, had no memory left."""
    # torch has no special error for the machine's memory: its allocator raises RuntimeError.
    return isinstance(problem, torch.OutOfMemoryError) or "allocate memory" in str(problem)
