"""What a trained adapter would lose at lower ranks, scored without training."""

from __future__ import annotations

from allocator.adapters.truncation import list_truncations, truncate_mode
from allocator.adapters.tucker import TuckerAdapter
from allocator.inputs.batches import Split
from allocator.training.evaluation import evaluate_pack
from allocator.training.measures import TruncatedLoss
from allocator.training.pack import Pack, TrainingPack
from allocator.training.slot import Slot


def compute_truncated_losses(
    pack: TrainingPack, slot: Slot, split: Split, metric: str
) -> list[TruncatedLoss]:
    """Score a trained slot with every mode cut down to several ranks, each mode alone.

    The cut copies are evaluated as a pack of their own; the given pack's slots stay as they are.
    A cut makes answers less sure, which alone may lower the loss of a network that is too sure of
    them; calibrated losses show what the cut really takes away.

    Args:
        pack: Where the slot was trained.
        slot: The slot; of adapters without a core nothing can be cut.
        split: What it is scored on.
        metric: The task's metric.
    """
    adapter = slot.adapter
    if not isinstance(adapter, TuckerAdapter):
        return []
    cuts = list(list_truncations(adapter))
    slots = [Slot(truncate_mode(adapter, mode, rank), slot.head) for mode, rank in cuts]
    evaluations = evaluate_pack(Pack(pack.backbone, slots, width=pack.width), split, metric)
    return [
        TruncatedLoss(mode, rank, evaluation.calibrated_loss)
        for (mode, rank), evaluation in zip(cuts, evaluations, strict=True)
    ]
