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
from allocator.inputs.batches import Batch, join_rows, split_rows
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
        blocks: Sequence[int] | None = None,
        dropout: Sequence[float] = (),
        generators: Sequence[torch.Generator] = (),
        widths: Sequence[int | None] | None = None,
    ) -> Tensor:
        """Compute the hidden states of a batch for some slots, each with its own updates.

        Args:
            slots: At most `width` of the pack's slots.
            batch: One block of B rows, or several, one below the other.
            blocks: For each slot, the number of the block that it reads; None if there is one.
            dropout: As for `PackedSites.set_updates`.
            generators: As for `PackedSites.set_updates`.
            widths: As for `PackedSites.set_updates`.

        Returns:
            Shape (S, B, T, W).
        """
        pairs = [slot.compute_pairs() for slot in slots]
        # All packs share the backbone's sites, so updates are set before every pass.
        self.backbone.sites.set_updates(
            pairs, dropout=dropout, generators=generators, widths=widths
        )
        # Slots lie along the batch: (S * B, T, W).
        hidden = self.backbone(batch.inputs, blocks or [0] * len(slots))
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

    def step(self, batch: Batch, seeds: Sequence[int] | None = None) -> None:
        """Take one optimizer step in every slot, without waiting for the device.

        Args:
            batch: The examples of the step.
            seeds: If the batch has a block of rows for each of several seeds, the seeds in the
                order of their blocks; each slot reads the block of its own. None if all slots read
                all rows.
        """
        # No slot steps before all gradients are there: a pass that ran out of memory is repeated,
        # and an optimizer step must not be.
        groups = self.run_in_turns(lambda slots: self._compute_gradients(slots, batch, seeds))
        for slot, loss in zip(self.slots, itertools.chain.from_iterable(groups), strict=True):
            slot.update(loss)

    def list_diverged(self) -> list[TrainingSlot]:
        """List the slots with a loss that was not finite; this waits for the device."""
        if not self.slots:
            return []
        # Stacked, so that there is one wait for all slots together.
        sums = torch.stack([slot.loss_sum for slot in self.slots]).tolist()  # host-device sync
        return [s for s, total in zip(self.slots, sums, strict=True) if not math.isfinite(total)]

    def _compute_gradients(
        self, slots: Sequence[TrainingSlot], batch: Batch, seeds: Sequence[int] | None
    ) -> list[Tensor]:
        states = [slot.generator.get_state() for slot in slots]
        try:
            return self._run_passes(slots, batch, seeds)
        except RuntimeError:
            # As if the pass had not begun, so that the next one drops the same inputs.
            for slot, state in zip(slots, states, strict=True):
                slot.generator.set_state(state)
                slot.drop_gradients()
            raise

    def _run_passes(
        self, slots: Sequence[TrainingSlot], batch: Batch, seeds: Sequence[int] | None
    ) -> list[Tensor]:
        if seeds is None:
            rows, block_of = split_rows(batch, 1), [0] * len(slots)
        else:
            # Slots that take turns may not read all blocks, and need not wait for the others.
            read = [seed for seed in seeds if any(slot.seed == seed for slot in slots)]
            every = dict(zip(seeds, split_rows(batch, len(seeds)), strict=True))
            rows, block_of = [every[seed] for seed in read], [read.index(s.seed) for s in slots]
        hidden_SBTW = self.compute_hidden(
            slots,
            join_rows(rows),
            blocks=block_of,
            dropout=[slot.dropout for slot in slots],
            generators=[slot.generator for slot in slots],
            widths=[rows[block].width for block in block_of],
        )
        losses = [
            slot.compute_loss(hidden_BTW, rows[block])
            for slot, hidden_BTW, block in zip(slots, hidden_SBTW, block_of, strict=True)
        ]
        # No slot's parameters appear in another slot's loss, so the gradient of the sum is for
        # every slot the gradient of its own loss.
        torch.stack(losses).sum().backward()
        return [loss.detach() for loss in losses]


def is_out_of_memory(problem: RuntimeError) -> bool:
    """Whether an error says that a device, or the machine itself, had no memory left."""
    # torch has no special error for the machine's memory: its allocator raises RuntimeError.
    return isinstance(problem, torch.OutOfMemoryError) or "allocate memory" in str(problem)
