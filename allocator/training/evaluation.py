"""Evaluate slots, and the majority-class predictor, on a split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from allocator.config import Calibration
from allocator.data.metrics import Score, compute_majority_score, compute_score
from allocator.inputs.batches import Split, iterate_by_length
from allocator.training.calibration import compute_calibrated_loss, fit_calibration
from allocator.training.pack import AnySlot, Pack
from allocator.training.task_loss import compute_task_loss

_ROWS_AT_ONCE = 256  # examples times slots in one pass
_SMALLEST_BATCH = 32  # examples in one pass, for any number of slots


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The results of one slot on one split.

    Attributes:
        score: Value of the task's metric.
        loss: Mean loss of the answers as they are, without a calibration.
        calibrated_loss: As `compute_calibrated_loss` defines it.
        spread: How much answers depend on the input. For classes, logits are centered within each
            example, and the spread is the largest standard deviation over examples of any class.
            For real labels, it is the standard deviation of the predictions divided by that of the
            labels.
        calibration: The calibration that `fit_calibration` fits to the answers; None if they are
            not finite, or are not a network's.
    """

    score: Score
    loss: float
    calibrated_loss: float
    spread: float
    calibration: Calibration | None = None


@torch.no_grad()
def evaluate_pack(pack: Pack[AnySlot], split: Split, metric: str) -> list[Evaluation]:
    """Evaluate the slots of a pack on a split.

    Args:
        pack: The slots; evaluating them changes nothing about them.
        split: The examples to answer.
        metric: Name of the task's metric.

    Returns:
        One evaluation for each slot, in the order of the slots.
    """
    groups = pack.run_in_turns(lambda slots: _evaluate_slots(pack, slots, split, metric))
    return [evaluation for group in groups for evaluation in group]


def _evaluate_slots(
    pack: Pack[AnySlot], slots: Sequence[AnySlot], split: Split, metric: str
) -> list[Evaluation]:
    is_regression = split.labels.is_floating_point()
    batch_size = max(_SMALLEST_BATCH, _ROWS_AT_ONCE // len(slots))
    # Results stay on the device until the end, so that batches do not wait for each other.
    order, answers, centered, losses = [], [], [], []
    for indices, batch in iterate_by_length(split, batch_size, pack.backbone.device):
        hidden_SBTW = pack.compute_hidden(slots, batch)
        logits = [
            # In float32, whatever the precision of the frozen weights.
            slot.compute_logits(hidden_BTW, batch.inputs).float()
            for slot, hidden_BTW in zip(slots, hidden_SBTW, strict=True)
        ]
        losses.append(
            # Mean times examples, because batches differ in size.
            torch.stack([compute_task_loss(z, batch.labels) for z in logits]) * len(indices)
        )
        answers.append(
            torch.stack([z.squeeze(1) if is_regression else z.argmax(1) for z in logits])
        )
        # A constant added to all logits of an example changes no answer, so it must not count.
        stacked_SBC = torch.stack(logits)
        centered.append(stacked_SBC if is_regression else stacked_SBC - stacked_SBC.mean(2, True))
        order += indices
    # N runs in the order of `order`, by length, until answers are put back below.
    outputs_SNC = torch.cat(centered, dim=1)
    scale = split.labels.std(correction=0).clamp_min(1e-12).item() if is_regression else 1.0
    # Host-device sync: here the batches are waited for.
    spreads = (outputs_SNC.std(dim=1, correction=0).amax(dim=1) / scale).tolist()
    labels = split.labels.numpy()[order]
    # SciPy fits on the CPU, in float64.
    fitted = [
        (
            compute_calibrated_loss(z, labels),
            fit_calibration(z, labels, has_intercept=slot.head.has_bias),
        )
        for slot, z in zip(slots, outputs_SNC.double().cpu().numpy(), strict=True)
    ]
    mean_losses = (torch.stack(losses).sum(0) / len(split)).tolist()  # host-device sync
    predictions = np.zeros((len(slots), len(split)))
    # Back into the order of the split.
    predictions[:, order] = torch.cat(answers, dim=1).cpu().numpy()
    return [
        Evaluation(
            score=compute_score(metric, predicted, split.labels.tolist()),
            loss=loss,
            calibrated_loss=best_loss,
            spread=spread,
            calibration=calibration,
        )
        for predicted, loss, (best_loss, calibration), spread in zip(
            predictions, mean_losses, fitted, spreads, strict=True
        )
    ]


def evaluate_majority(train: Split, split: Split, metric: str) -> Evaluation:
    """Evaluate the predictor that knows the labels of `train` but reads no input.

    It answers the majority class, or the mean score; its loss is that of predicting the class
    shares, or the mean score.

    Args:
        train: The examples whose labels it knows.
        split: The examples to answer.
        metric: Name of the task's metric.
    """
    loss = _compute_prior_loss(train, split)
    return Evaluation(
        score=compute_majority_score(metric, train.labels.tolist(), split.labels.tolist()),
        loss=loss,
        calibrated_loss=loss,
        spread=0.0,
    )


def _compute_prior_loss(train: Split, split: Split) -> float:
    if train.labels.is_floating_point():
        return F.mse_loss(train.labels.mean().expand(len(split)), split.labels).item()
    # The split may have a class that train lacks.
    classes = 1 + max(int(train.labels.max()), int(split.labels.max()))
    shares = torch.bincount(train.labels, minlength=classes) / len(train)
    # A class that train lacks counts as one example, because its loss would be infinite.
    log_shares: Sequence[float] = shares.clamp_min(1 / len(train)).log().tolist()
    return -math.fsum(log_shares[label] for label in split.labels.tolist()) / len(split)
