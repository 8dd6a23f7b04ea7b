"""Scores a trial on a split, and what it is compared with: the majority-class predictor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from allocator.training.batches import TokenizedSplit, in_order_of_length
from allocator.training.metrics import Score, majority_score, score
from allocator.training.slot import Slot, task_loss

_BATCH_SIZE = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        score: The task's metric.
        loss: Mean loss.
        is_constant: Whether all predictions are the same.
    """

    score: Score
    loss: float
    is_constant: bool


@torch.no_grad()
def evaluate_slot(slot: Slot, split: TokenizedSplit, metric: str) -> Evaluation:
    """Score a trial as it stands on a split."""
    slot.use_for_evaluation()
    predictions = np.zeros(len(split))
    loss = 0.0
    for indices, batch in in_order_of_length(split, _BATCH_SIZE, slot.backbone.device):
        logits = slot.head(slot.backbone(batch.inputs)).float()
        loss += task_loss(logits, batch.labels).item() * len(indices)
        is_regression = batch.labels.is_floating_point()
        predictions[indices] = (
            (logits.squeeze(1) if is_regression else logits.argmax(dim=1)).cpu().numpy()
        )
    return Evaluation(
        score=score(metric, predictions, split.labels.tolist()),
        loss=loss / len(split),
        is_constant=bool(np.ptp(predictions) == 0),
    )


def evaluate_majority(train: TokenizedSplit, split: TokenizedSplit, metric: str) -> Evaluation:
    """Score the predictor that knows train's labels but reads no text.

    It answers the majority class, or the mean score; its loss is that of the class shares, or of
    the mean.
    """
    return Evaluation(
        score=majority_score(metric, train.labels.tolist(), split.labels.tolist()),
        loss=_prior_loss(train, split),
        is_constant=True,
    )


def _prior_loss(train: TokenizedSplit, split: TokenizedSplit) -> float:
    if train.labels.is_floating_point():
        return F.mse_loss(train.labels.mean().expand(len(split)), split.labels).item()
    classes = 1 + max(int(train.labels.max()), int(split.labels.max()))
    shares = torch.bincount(train.labels, minlength=classes) / len(train)
    log_shares: Sequence[float] = shares.clamp_min(1 / len(train)).log().tolist()
    return -math.fsum(log_shares[label] for label in split.labels.tolist()) / len(split)
