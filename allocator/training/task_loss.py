"""The loss that every training minimises."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def compute_task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean loss of a batch, a scalar; arguments as for `compute_losses`."""
    return compute_losses(logits, labels).mean()


def compute_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of every example.

    It is the cross-entropy, for several labels the mean of their binary cross-entropies, or the
    squared error if labels are real.

    Args:
        logits: Shape (batch, classes); (batch, 1) for regression.
        labels: Shape (batch,): classes as integers, or real scores; shape (batch, labels), of 0 and
            1, if an example may have several.

    Returns:
        Shape (batch,).
    """
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(1), labels, reduction="none")
    if labels.ndim == 2:
        targets = labels.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
    return F.cross_entropy(logits, labels, reduction="none")
