"""What is logged of a training: its hyperparameters and, at each boundary, its values."""

from __future__ import annotations

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.config import TrainingConfig
from allocator.training.messages import Report
from allocator.tuning.loggers.logger import Value


def list_hyperparameters(spec: AdapterSpec, allocation: Allocation) -> dict[str, Value]:
    """List what an allocation is, under the names that Optuna's parameters have."""
    ranks = {n if n == "rank" else f"rank_{n}": r for n, r in allocation.ranks.items()}
    further = {f"lr_multiplier_{m}": value for m, value in allocation.lr_multipliers.items()}
    optional = {
        "head_learning_rate": allocation.head_learning_rate,
        "dropout": allocation.dropout,
    }
    return {
        "construction": spec.shape.construction,
        "factorization": spec.shape.factorization,
        **ranks,
        "core_lr_multiplier": allocation.core_lr_multiplier,
        "learning_rate": allocation.learning_rate,
        **further,
        **{name: value for name, value in optional.items() if value is not None},
        "parameters": spec.shape.num_parameters(allocation.ranks),
    }


def list_values(report: Report, training: TrainingConfig, split: str = "") -> dict[str, float]:
    """List what a training has reached at a boundary; the step is the number of the boundary.

    Args:
        report: What it reports.
        training: The configuration of the study's trainings.
        split: What it was scored on, in front of the names of its scores.
    """
    scores = {
        "score": report.score,
        "loss": report.loss,
        "calibrated_loss": report.calibrated_loss,
        **report.components,
    }
    return {
        "epoch": report.step / training.boundaries_per_epoch,
        "train_loss": report.train_loss,
        **{f"{split}_{name}" if split else name: value for name, value in scores.items()},
    }
