"""Scale the points of a space to inputs of the surrogate's Gaussian process."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from allocator.tuning.space.points import Domain, Points, read_bounds
from allocator.tuning.space.space import Space

Floats = npt.NDArray[np.float64]


class Encoder:
    """Convert points of a space to inputs of the Gaussian process, each in about [0, 1].

    Ranks and rates are encoded as logarithms: a step from rank 1 to 2 matters as much as one from
    16 to 32. Lambda is replaced by the core's learning rate, lambda times the base rate, because
    that product decides where training collapses, and a cliff along one input is easy to learn. The
    number of parameters is an input too, because its effect is the same whichever rank it comes
    from. In a space of several constructions or factorizations, each of them has an input that is
    0 or 1.

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
        # An input is the sum of the logarithms of its parameters, here that of their product.
        core = ("core_lr_multiplier", "learning_rate")
        self._inputs: dict[str, tuple[str, ...]] = {name: (name,) for name in searched}
        if searched.keys() >= set(core):
            self._inputs["core_lr_multiplier"] = core
        groups = self._inputs.values()
        self._low = [sum(math.log(searched[name][0]) for name in names) for names in groups]
        self._high = [sum(math.log(searched[name][1]) for name in names) for names in groups]
        self._count_ranks = any(name in searched for name in self.domain.rank_names)
        self._choices = _encode_choices(space)

    def encode_points(self, points: Points) -> Floats:
        """Convert points of shape (n, columns) to inputs of shape (n, inputs)."""
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
            # 1 if the budget is used up, 0 at a sixteenth of it.
            inputs.append(np.log2(counts / feasible.budget) / 4 + 1)
        if len(self._choices):
            variants = self.domain.read_ranks(points)[:, 0] - 1
            inputs += [column[variants] for column in self._choices]
        # A Gaussian process needs an input even if the space has nothing to search.
        return np.stack(inputs or [np.zeros(len(points))], axis=1)


def _encode_choices(space: Space) -> list[Floats]:
    """Encode each value of each choice as 0 or 1 for every variant, shape (variants,)."""
    return [
        np.array([float(variant.choice.get(name) == value) for variant in space.variants])
        for name in space.choices
        for value in dict.fromkeys(variant.choice.get(name) for variant in space.variants)
        if value is not None  # that of a variant that lacks the choice
    ]
