"""An allocation: one complete choice of everything that a search varies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """Ranks and learning rates on a given adapter shape.

    Attributes:
        ranks: Rank by name, as in `AdapterShape.rank_names`.
        learning_rate: Base learning rate of the adapter.
        core_lr_multiplier: Lambda: learning rate of the zero-initialised part divided by the base
            learning rate.
        lr_multipliers: Learning rate of a mode's factor divided by the base learning rate, by mode;
            1 for modes without an entry.
        head_learning_rate: Learning rate of the task head; None to use the training
            configuration's.
        dropout: Fraction of an adapter's inputs that are dropped while it trains; None to use the
            training configuration's.
    """

    ranks: Mapping[str, int]
    learning_rate: float
    core_lr_multiplier: float = 1.0
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    head_learning_rate: float | None = None
    dropout: float | None = None
