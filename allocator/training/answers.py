"""The answers of trained slots to examples that they were not scored on, example by example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from allocator.data.metrics import compute_majority_score, compute_score
from allocator.inputs.batches import Split, iterate_by_length
from allocator.training.pack import AnySlot, Pack

Floats = npt.NDArray[np.float64]
_ROWS_AT_ONCE = 256  # examples times slots in one pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The answers of one trained adapter to N examples.

    Attributes:
        losses: Cross-entropy, or squared error, of every answer as it is given, shape (N,).
        predictions: Class or score that was answered, shape (N,).
        score: Value of the task's metric.
    """

    losses: Floats
    predictions: Floats
    score: float


@torch.no_grad()
def answer_examples(pack: Pack[AnySlot], split: Split, metric: str) -> list[Answers]:
    """Let the slots of a pack answer a split.

    Args:
        pack: The slots; answering changes nothing about them.
        split: The examples.
        metric: Name of the task's metric.

    Returns:
        The answers of each slot, in the order of the slots.
    """
    groups = pack.run_in_turns(lambda slots: _answer(pack, slots, split, metric))
    return [answers for group in groups for answers in group]


def answer_majority(train_labels: Sequence[float], split: Split, metric: str) -> Answers:
    """Answer with what the labels of train alone say: the class shares, or the mean score.

    Args:
        train_labels: Labels of train.
        split: The examples.
        metric: Name of the task's metric.
    """
    labels = split.labels.numpy()
    if split.labels.is_floating_point():
        answer = float(np.mean(train_labels))
        losses = (labels - answer) ** 2
    else:
        counts = np.bincount(np.asarray(train_labels, dtype=np.int64), minlength=labels.max() + 1)
        answer = float(np.argmax(counts))
        # A class that train lacks counts as one example, because its loss would be infinite.
        losses = -np.log(np.maximum(counts, 1) / len(train_labels))[labels]
    score = compute_majority_score(metric, train_labels, labels.tolist())
    return Answers(
        losses=losses.astype(np.float64),
        predictions=np.full(len(labels), answer),
        score=score.value,
    )


def _answer(
    pack: Pack[AnySlot], slots: Sequence[AnySlot], split: Split, metric: str
) -> list[Answers]:
    is_regression = split.labels.is_floating_point()
    order: list[int] = []
    losses, predictions = [], []
    size = max(1, _ROWS_AT_ONCE // len(slots))
    for indices, batch in iterate_by_length(split, size, pack.backbone.device):
        hidden_SBTW = pack.compute_hidden(slots, batch)
        for slot, hidden_BTW in zip(slots, hidden_SBTW, strict=True):
            # In float32, whatever the precision of the frozen weights.
            logits_BC = slot.compute_logits(hidden_BTW, batch.inputs).float()
            if is_regression:
                losses.append((logits_BC.squeeze(1) - batch.labels) ** 2)
                predictions.append(logits_BC.squeeze(1))
            else:
                losses.append(F.cross_entropy(logits_BC, batch.labels, reduction="none"))
                predictions.append(logits_BC.argmax(1).float())
        order += indices
    # N runs in the order of `order`, by length, until answers are put back.
    losses_SN = _sort_rows(losses, len(slots), order)
    predictions_SN = _sort_rows(predictions, len(slots), order)
    labels = split.labels.tolist()
    return [
        Answers(
            losses=losses_N,
            predictions=predictions_N,
            score=compute_score(metric, predictions_N.tolist(), labels).value,
        )
        for losses_N, predictions_N in zip(losses_SN, predictions_SN, strict=True)
    ]


def _sort_rows(parts: Sequence[torch.Tensor], slots: int, order: Sequence[int]) -> Floats:
    """Join the parts of S slots, batch by batch, to (S, N) in the order of the split."""
    joined = [torch.cat(list(parts[slot::slots])) for slot in range(slots)]
    rows_SN = torch.stack(joined).double().cpu().numpy()
    sorted_SN = np.empty_like(rows_SN)
    sorted_SN[:, list(order)] = rows_SN
    return sorted_SN
