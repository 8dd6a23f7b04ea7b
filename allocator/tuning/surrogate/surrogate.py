"""The surrogate of the search, which tells a good allocation from a lucky one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from allocator.tuning.space.points import Points
from allocator.tuning.space.space import Params, Space
from allocator.tuning.surrogate.encoder import Encoder
from allocator.tuning.surrogate.gaussian_process import (
    GaussianProcess,
    fit_gaussian_process,
    make_dimension_scaled_prior,
)
from allocator.tuning.surrogate.observations import Observation

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
_FLOOR = 4.0
_FIDELITY_PRIOR = (0.0, 0.5)  # of its log length scale: early scores foretell the end in part


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

        Those of trainings that collapsed are left out, unless there are no others: how far below
        the rest such a score lies says nothing of where the best is.

        Args:
            space: The search space.
            observations: At least one; points may repeat, and scores may all be equal.
            seed: Seed of the optimiser's second start.

        Raises:
            ValueError: If there is no observation.
        """
        if not observations:
            raise ValueError("a surrogate needs at least one observation, got none")
        observations = [o for o in observations if not o.collapsed] or observations
        encoder = Encoder(space)
        points = encoder.domain.params_to_points([o.params for o in observations])
        inputs = encoder.encode_points(points)
        # One allocation has one training, whose luck all its boundaries share.
        _, trainings = np.unique(points, axis=0, return_inverse=True)
        fidelity = np.array([o.fidelity for o in observations])
        length_prior = make_dimension_scaled_prior(inputs.shape[1])
        has_fidelity = bool(np.any(fidelity < 1))
        if has_fidelity:
            inputs = np.hstack([inputs, fidelity[:, None]])
            length_prior = np.hstack([length_prior, np.array([_FIDELITY_PRIOR]).T])
        scores = np.array([o.score for o in observations])
        scores = raise_low_scores(scores + compute_median_gains(scores, fidelity, trainings))
        center, scale = float(scores.mean()), float(scores.std())
        scale = scale if scale > 1e-9 * max(1.0, abs(center)) else 1.0
        rng = np.random.default_rng(seed)
        targets = (scores - center) / scale
        process = fit_gaussian_process(
            inputs, targets, rng, groups=trainings, length_prior=length_prior
        )
        return cls(encoder, process, center=center, scale=scale, has_fidelity=has_fidelity)

    def predict(self, points: Points | Sequence[Params]) -> tuple[Floats, Floats]:
        """Predict the noise-free score at the end of a training.

        Args:
            points: Parameters of n trials, or points of shape (n, columns).

        Returns:
            Mean and standard deviation in units of the score, each of shape (n,).
        """
        mean, variance = self._process.predict(self._encode(points))
        return mean * self._scale + self._center, np.sqrt(variance) * self._scale

    def compute_covariance(self, points: Points, others: Points) -> Floats:
        """Give the posterior covariance of noise-free scores at full fidelity, shape (n, m)."""
        inputs, other_inputs = self._encode(points), self._encode(others)
        return self._process.compute_covariance(inputs, other_inputs) * self._scale**2

    def _encode(self, points: Points | Sequence[Params]) -> Floats:
        if not isinstance(points, np.ndarray):
            points = self.encoder.domain.params_to_points(points)
        inputs = self.encoder.encode_points(points)
        if self._has_fidelity:
            inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
        return inputs


def compute_median_gains(scores: Floats, fidelity: Floats, trainings: Labels) -> Floats:
    """Say what each score would typically gain until the end of its training.

    That is the median gain, from the same fidelity on, of the trainings that reached their end.

    Args:
        scores: Shape (n,).
        fidelity: Shape (n,).
        trainings: Training that each score was seen in, shape (n,).
    """
    ended = fidelity >= 1
    ends = dict(zip(trainings[ended], scores[ended], strict=True))
    gained = np.array([ends.get(t, np.nan) - s for t, s in zip(trainings, scores, strict=True)])
    found = np.zeros(len(scores))
    for share in np.unique(fidelity[fidelity < 1]):
        here = fidelity == share
        known = gained[here & np.isfinite(gained)]
        found[here] = np.median(known) if len(known) else 0.0
    return found


def raise_low_scores(scores: Floats) -> Floats:
    """Raise very low scores to four times as far below the best as the median is.

    How far below says nothing of where the best lies, and a process that had to draw a cliff to its
    foot would see the top as flat. Of fewer than three scores none is typical, and where the median
    is the best itself there is no measure: nothing is raised.

    Args:
        scores: Shape (n,).
    """
    top, typical = scores.max(), np.median(scores)
    if len(scores) < 3 or typical == top:
        return scores
    return np.asarray(np.maximum(scores, top - _FLOOR * (top - typical)))
