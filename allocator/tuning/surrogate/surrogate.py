"""The surrogate of the search: a model of the score without the luck of single trainings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from allocator.tuning.space.points import Points
from allocator.tuning.space.space import Params, Space
from allocator.tuning.surrogate.encoder import Encoder
from allocator.tuning.surrogate.gaussian_process import GaussianProcess, fit_gaussian_process
from allocator.tuning.surrogate.observations import Observation
from allocator.tuning.surrogate.targets import make_targets

Floats = npt.NDArray[np.float64]


class Surrogate:
    """A Gaussian process fitted to noisy scores at several fidelities.

    The trainings of one allocation are repeated measurements of it. What all trainings of a seed
    have in common, whatever their allocation, is a noise term of its own.

    Args:
        encoder: Encoder of the space.
        process: Process conditioned on standardised scores.
        center: Score whose standardised value is 0.
        scale: Difference of scores whose standardised value is 1.
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
    def fit(
        cls,
        space: Space,
        observations: Sequence[Observation],
        *,
        seed: int = 0,
        raises_low: bool = True,
        length_prior: tuple[float, float] | None = None,
    ) -> Surrogate:
        """Fit hyperparameters and condition on the observations.

        Args:
            space: The search space.
            observations: At least one; those of collapsed trainings are left out.
            seed: Seed of the optimiser's second start.
            raises_low: Whether very low scores are raised, as `raise_low_scores` does.
            length_prior: Mean and standard deviation of the log length scale of every input but the
                fidelity; by default the dimension-scaled prior.

        Raises:
            ValueError: If there is no observation.
        """
        targets = make_targets(space, observations, raises_low=raises_low)
        process = fit_gaussian_process(
            targets.inputs,
            targets.scores,
            np.random.default_rng(seed),
            shared=targets.shared,
            length_prior=targets.make_length_prior(length_prior),
        )
        return cls(
            targets.encoder,
            process,
            center=targets.center,
            scale=targets.scale,
            has_fidelity=targets.has_fidelity,
        )

    def predict(self, points: Points | Sequence[Params]) -> tuple[Floats, Floats]:
        """Predict the noise-free score at the end of the training.

        Args:
            points: Parameters of n trials, or points of shape (n, columns).

        Returns:
            Posterior mean and standard deviation in units of the score, each of shape (n,).
        """
        mean, variance = self._process.predict(self._encode(points))
        return mean * self._scale + self._center, np.sqrt(variance) * self._scale

    def compute_covariance(self, points: Points, others: Points) -> Floats:
        """Compute the posterior covariance of noise-free scores at full fidelity.

        Args:
            points: Shape (n, columns).
            others: Shape (m, columns).

        Returns:
            In squared units of the score, shape (n, m).
        """
        inputs, other_inputs = self._encode(points), self._encode(others)
        return self._process.compute_covariance(inputs, other_inputs) * self._scale**2

    @property
    def noise(self) -> float:
        """Variance of the luck of one training at its end, in squared units of the score."""
        return (self._process.noise + self._process.shared[0]) * self._scale**2

    def _encode(self, points: Points | Sequence[Params]) -> Floats:
        if not isinstance(points, np.ndarray):
            points = self.encoder.domain.params_to_points(points)
        inputs = self.encoder.encode_points(points)
        if self._has_fidelity:
            inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
        return inputs
