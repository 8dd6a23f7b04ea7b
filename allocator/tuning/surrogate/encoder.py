"""Points of a space as the surrogate sees them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from allocator.tuning.space.points import Domain, Points, read_bounds
from allocator.tuning.space.space import Space

Floats = npt.NDArray[np.float64]


class Encoder:
    """Turns points of a space into inputs of the Gaussian process, each in about [0, 1].

    Ranks stand as logarithms: from 1 to 2 matters as much as from 16 to 32. In place of lambda
    stands the core's own learning rate, lambda times the base rate, because that product decides
    where training collapses, and one input then carries the cliff. The parameter count is an input
    of its own, since what it costs to be large is the same whichever rank makes it so. Where a
    space chooses among constructions or factorizations, each has an input that is 0 or 1.

    Args:
        space: The search space.
    """

    def __init__(self, space: Space) -> None:
        self.domain = Domain(space)
        searched = {
            name: read_bounds(distribution)
            for name, distribution in space.distributions.items()
            if not distribution.single() and name not in space.choices
        }
        core = ("core_lr_multiplier", "learning_rate")
        self._inputs: dict[str, tuple[str, ...]] = {name: (name,) for name in searched}
        if searched.keys() >= set(core):
            self._inputs["core_lr_multiplier"] = core
        parts = self._inputs.values()
        self._low = [sum(math.log(searched[name][0]) for name in names) for names in parts]
        self._high = [sum(math.log(searched[name][1]) for name in names) for names in parts]
        self._count_ranks = any(name in searched for name in self.domain.rank_names)
        self._choices = _encode_choices(space)

    def encode_points(self, points: Points) -> Floats:
        """Encode points of shape (n, columns) as inputs of shape (n, inputs)."""
        logs = np.log(points)
        column = {name: i for i, name in enumerate(self.domain.columns)}
        sums = [logs[:, [column[n] for n in names]].sum(axis=1) for names in self._inputs.values()]
        inputs = [
            (value - low) / (high - low)
            for value, low, high in zip(sums, self._low, self._high, strict=True)
        ]
        if self._count_ranks:
            feasible = self.domain.space.feasible
            counts = feasible.count_parameters(self.domain.read_ranks(points))
            inputs.append(np.log2(counts / feasible.budget) / 4 + 1)
        if len(self._choices):
            variants = self.domain.read_ranks(points)[:, 0] - 1
            inputs += [column[variants] for column in self._choices]
        return np.stack(inputs or [np.zeros(len(points))], axis=1)


def _encode_choices(space: Space) -> list[Floats]:
    """Encode the choices of every variant: one input of shape (variants,) for each value."""
    return [
        np.array([float(variant.choice[name] == value) for variant in space.variants])
        for name in space.choices
        for value in dict.fromkeys(variant.choice[name] for variant in space.variants)
    ]
