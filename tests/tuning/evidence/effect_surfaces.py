"""Surfaces whose effects are known, and how well what is told of them agrees with the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from allocator.allocation.constructions import BackboneShape
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.evidence.told_changes import BAND, find_changes

Values = Mapping[str, float]
Surface = Callable[[Values], float]
MINILM = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)
WITHOUT_EFFECT = ("rank_head_dim", "rank_heads", "rank_qkv")


def known_loss(values: Values) -> float:
    """Lose less up to rank 8 of input and 4 of depth, and least at a rate within its range.

    The ranks of head_dim, heads and qkv change nothing.
    """
    loss = 0.5 - 0.004 * min(math.log2(values["rank_input"]), 3)
    loss -= 0.003 * min(math.log2(values["rank_depth"]), 2)
    rate = math.log10(values["learning_rate"] / 1e-3)
    core = math.log10(values["learning_rate"] * values["core_lr_multiplier"] / 8e-3)
    return loss + 0.02 * rate**2 + 0.008 * core**2


def level_loss(values: Values) -> float:
    """Lose the same everywhere."""
    del values
    return 0.5


@dataclass(kw_only=True, slots=True)
class Tally:
    """What was told in several studies.

    Attributes:
        sentences: Effects that were described.
        told: Changes that were told.
        false: Told changes that truly are none, or of the other sign.
        covered: Share of the true differences in the band, for each effect.
    """

    sentences: int = 0
    told: int = 0
    false: int = 0
    covered: list[float]

    def add(self, effect: MarginalEffect, base: Values, surface: Surface) -> None:
        """Compare an effect with the truth."""
        losses = np.array([surface({**base, effect.name: v}) for v in effect.values.tolist()])
        true = losses[None] - losses[:, None]
        self.sentences += 1
        for change in find_changes(effect):
            self.told += 1
            self.false += not change.difference * true[change.start, change.end] > 1e-12
        pairs = np.triu_indices(len(losses), 1)
        if len(pairs[0]):
            within = np.abs(effect.differences - true) <= BAND * effect.errors
            self.covered.append(float(within[pairs].mean()))
