"""A model of where trainings collapse, separate from the model of the scores of the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from allocator.tuning.space.points import Points
from allocator.tuning.space.space import Space
from allocator.tuning.surrogate.encoder import Encoder
from allocator.tuning.surrogate.gaussian_process import GaussianProcess, fit_gaussian_process
from allocator.tuning.surrogate.observations import Observation

Floats = npt.NDArray[np.float64]


class Survival:
    """A model of the probability that a training reaches its end without collapsing.

    A Gaussian process is fitted to labels, 1 for an allocation that did not collapse and -1 for one
    that did; the probability is that of a positive label (least-squares classification, Rasmussen
    and Williams 2006, section 6.5). If the surrogate were fitted to low scores of collapsed
    trainings instead, it would expect low scores of the allocations near them too.

    Args:
        encoder: Encoder of the space.
        process: Process conditioned on standardised labels.
        center: Label whose standardised value is 0.
        scale: Difference of labels whose standardised value is 1.
    """

    def __init__(
        self, encoder: Encoder, process: GaussianProcess, *, center: float, scale: float
    ) -> None:
        self._encoder, self._process, self._center, self._scale = encoder, process, center, scale

    @classmethod
    def fit(
        cls, space: Space, observations: Sequence[Observation], *, seed: int = 0
    ) -> Survival | None:
        """Fit the model to all trainings; None if none has collapsed.

        Args:
            space: The search space.
            observations: All scores so far.
            seed: Seed of the optimiser's second start.
        """
        if not any(o.collapsed for o in observations):
            return None
        encoder = Encoder(space)
        points = encoder.domain.params_to_points([o.params for o in observations])
        points, places = np.unique(points, axis=0, return_inverse=True)
        # An allocation that collapsed with one seed is not sound.
        labels = np.ones(len(points))
        labels[places[[o.collapsed for o in observations]]] = -1.0
        # If all trainings collapsed, the labels are equal and their deviation is zero.
        center, scale = float(labels.mean()), float(labels.std()) or 1.0
        rng = np.random.default_rng(seed)
        process = fit_gaussian_process(
            encoder.encode_points(points), (labels - center) / scale, rng
        )
        return cls(encoder, process, center=center, scale=scale)

    def compute_log_probability(self, points: Points) -> Floats:
        """Compute the log probability of no collapse at (n, columns) points, shape (n,)."""
        mean, variance = self._process.predict(self._encoder.encode_points(points))
        label = mean * self._scale + self._center
        return np.asarray(log_ndtr(label / (np.sqrt(variance) * self._scale)))
