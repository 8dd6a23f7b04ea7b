"""The surrogate of the search, which tells a good allocation from a lucky one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from allocator.tuning.domain import Domain, Points, bounds
from allocator.tuning.gaussian_process import GaussianProcess, fit
from allocator.tuning.observations import Observation
from allocator.tuning.space import Params, Space

__all__ = ["Encoder", "Observation", "Surrogate"]

Floats = npt.NDArray[np.float64]
_COLLAPSED = 0.05  # scores in this lowest share of their range are those of collapsed trials
_FLOOR = 4.0


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
            name: bounds(distribution)
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
        self._choices = _one_hot(space)

    def encode(self, points: Points) -> Floats:
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
            counts = feasible.counts(self.domain.ranks(points))
            inputs.append(np.log2(counts / feasible.budget) / 4 + 1)
        if len(self._choices):
            variants = self.domain.ranks(points)[:, 0] - 1
            inputs += [column[variants] for column in self._choices]
        return np.stack(inputs or [np.zeros(len(points))], axis=1)


def _one_hot(space: Space) -> list[Floats]:
    """Encode the choices of every variant: one input of shape (variants,) for each value."""
    return [
        np.array([float(variant.choice[name] == value) for variant in space.variants])
        for name in space.choices
        for value in dict.fromkeys(variant.choice[name] for variant in space.variants)
    ]


class Surrogate:
    """A Gaussian process fitted to noisy scores at several fidelities.

    Args:
        encoder: Encoder of the space.
        process: Process conditioned on standardised scores.
        center: Score that stands as 0 in the process.
        scale: Difference of scores that stands as 1 in the process.
        has_fidelity: Whether the last input of the process is the fidelity.
    """

    def __init__(
        self,
        encoder: Encoder,
        process: GaussianProcess,
        *,
        center: float,
        scale: float,
        has_fidelity: bool,
    ) -> None:
        self.encoder = encoder
        self._process, self._center, self._scale = process, center, scale
        self._has_fidelity = has_fidelity

    @classmethod
    def fit(cls, space: Space, observations: Sequence[Observation], *, seed: int = 0) -> Surrogate:
        """Fit hyperparameters and condition on the observations.

        Args:
            space: The search space.
            observations: At least one; points may repeat, and scores may all be equal.
            seed: Seed of the optimiser's second start.

        Raises:
            ValueError: If there is no observation.
        """
        if not observations:
            raise ValueError("a surrogate needs at least one observation, got none")
        encoder = Encoder(space)
        inputs = encoder.encode(encoder.domain.points([o.params for o in observations]))
        fidelity = np.array([o.fidelity for o in observations])
        has_fidelity = bool(np.any(fidelity < 1))
        if has_fidelity:
            inputs = np.hstack([inputs, fidelity[:, None]])
        scores = raise_floor(np.array([o.score for o in observations]))
        center, scale = float(scores.mean()), float(scores.std())
        scale = scale if scale > 1e-9 * max(1.0, abs(center)) else 1.0
        process = fit(inputs, (scores - center) / scale, np.random.default_rng(seed))
        return cls(encoder, process, center=center, scale=scale, has_fidelity=has_fidelity)

    def predict(
        self, points: Points | Sequence[Params], fidelity: float = 1.0
    ) -> tuple[Floats, Floats]:
        """Predict the noise-free score.

        Args:
            points: Parameters of n trials, or points of shape (n, columns).
            fidelity: Share of the training after which the score would be seen.

        Returns:
            Mean and standard deviation in units of the score, each of shape (n,).
        """
        mean, variance = self._process.predict(self._encode(points, fidelity))
        return mean * self._scale + self._center, np.sqrt(variance) * self._scale

    def covariance(self, points: Points, others: Points) -> Floats:
        """Give the posterior covariance of noise-free scores at full fidelity, shape (n, m)."""
        inputs, other_inputs = self._encode(points, 1.0), self._encode(others, 1.0)
        return self._process.covariance(inputs, other_inputs) * self._scale**2

    def _encode(self, points: Points | Sequence[Params], fidelity: float) -> Floats:
        if not isinstance(points, np.ndarray):
            points = self.encoder.domain.points(points)
        inputs = self.encoder.encode(points)
        if self._has_fidelity:
            inputs = np.hstack([inputs, np.full((len(inputs), 1), fidelity)])
        return inputs


def raise_floor(scores: Floats) -> Floats:
    """Raise very low scores to four times as far below the best as the typical one is.

    Collapsed trials score far below all others. How far says nothing of where the best lies, and
    a process that had to draw the cliff to its foot would see the top as flat. The typical score
    is the median of those that have not collapsed, since most may have; with fewer than three of
    them none is typical, and nothing is raised.

    Args:
        scores: Shape (n,).
    """
    top, bottom = scores.max(), scores.min()
    sound = scores[scores >= bottom + _COLLAPSED * (top - bottom)]
    if len(sound) < 3:
        return scores
    typical = np.median(sound)
    return np.asarray(np.maximum(scores, top - _FLOOR * (top - typical)))
