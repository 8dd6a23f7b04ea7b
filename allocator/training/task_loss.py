"""The loss that every training minimises."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def compute_task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean loss of a batch, a scalar; arguments as for `compute_losses`."""
    return compute_losses(logits, labels).mean()


def compute_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the loss of every example: cross-entropy, or squared error if labels are real.

    Args:
        logits: Shape (batch, classes); (batch, 1) for regression.
        labels: Shape (batch,): classes as integers, or real scores.

    Returns:
        Shape (batch,).
    """
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(1), labels, reduction="none")
    return F.cross_entropy(logits, labels, reduction="none")
