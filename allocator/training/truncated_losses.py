"""Compute the loss of a trained adapter with one mode truncated, without further training."""

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
    """Evaluate a trained slot with one mode at a time truncated to several ranks.

    Truncation also makes answers less confident, which by itself can lower the loss of a network
    that is overconfident. The calibrated loss shows only what truncation costs in the answers.

    Args:
        pack: The pack that the slot was trained in.
        slot: The trained slot.
        split: The examples to evaluate on.
        metric: Name of the task's metric.

    Returns:
        One loss for each mode and rank; empty for an adapter without a core.
    """
    adapter = slot.adapter
    if not isinstance(adapter, TuckerAdapter):
        return []
    cuts = list(list_truncations(adapter))
    # A separate pack, so that the pack in training keeps its slots and its width.
    slots = [Slot(truncate_mode(adapter, mode, rank), slot.head) for mode, rank in cuts]
    evaluations = evaluate_pack(Pack(pack.backbone, slots, width=pack.width), split, metric)
    return [
        TruncatedLoss(mode, rank, evaluation.calibrated_loss)
        for (mode, rank), evaluation in zip(cuts, evaluations, strict=True)
    ]
