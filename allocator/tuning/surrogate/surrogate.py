"""The surrogate of the search: a model of the score without the luck of single trainings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from allocator.tuning.space.points import Points
from allocator.tuning.space.space import Params, Space
from allocator.tuning.surrogate.encoder import Encoder
from allocator.tuning.surrogate.gaussian_process import (
    GaussianProcess,
    SharedNoise,
    fit_gaussian_process,
    make_dimension_scaled_prior,
)
from allocator.tuning.surrogate.observations import Observation

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
_FLOOR = 4.0
"""Distance of the floor from the best score, in units of the distance of the median from the best.

Scores below the floor are raised to it. Otherwise they would stretch the range that the process
has to fit, and flatten the differences between the best. The floor is three times as far below the
median as the best is above it, so that only outliers are raised. In replays of searches on trained
allocations, floors at 1.5 and at 2 distances chose no better.
"""

_FIDELITY_PRIOR = (0.0, 0.5)
"""Mean and standard deviation of the log length scale of the fidelity, which spans 1 at most.

The fidelity at the end of a training is 1, so a length scale of 1 means that scores seen early in a
training say something about its final score, but not everything.
"""


# Log-normal priors of the variances of shared noise, as location and scale, in units of the
# variance of the observed scores. On 128 allocations of CoLA that did not collapse, each trained
# with three seeds, 0.44 of the variance of one training's score was luck; where scores spread more,
# the share is smaller. What is common to a seed, such as how hard the examples are that it holds
# out, may be larger than all differences.
_TRAINING_PRIOR = (-1.5, 1.0)
_SEED_PRIOR = (0.0, 2.0)


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
    def fit(cls, space: Space, observations: Sequence[Observation], *, seed: int = 0) -> Surrogate:
        """Fit hyperparameters and condition on the observations.

        Scores of collapsed trainings are left out, unless there are no others: how low they are
        is no evidence of where the best allocations lie. `Survival` learns where trainings
        collapse.

        Args:
            space: The search space.
            observations: At least one; points may repeat, and all scores may be equal.
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
        # All boundaries of a training share its luck, which the process models as shared noise.
        seeds = np.array([o.seed for o in observations])
        _, trainings = np.unique(np.column_stack([points, seeds]), axis=0, return_inverse=True)
        shared = [SharedNoise(groups=trainings, prior=_TRAINING_PRIOR)]
        # What one seed does to all allocations cannot be told from their mean.
        if len(np.unique(seeds)) > 1:
            shared.append(SharedNoise(groups=seeds, prior=_SEED_PRIOR))
        fidelity = np.array([o.fidelity for o in observations])
        length_prior = make_dimension_scaled_prior(inputs.shape[1])
        # Without early scores the fidelity is constant, and its length scale cannot be fitted.
        has_fidelity = bool(np.any(fidelity < 1))
        if has_fidelity:
            inputs = np.hstack([inputs, fidelity[:, None]])
            length_prior = np.hstack([length_prior, np.array([_FIDELITY_PRIOR]).T])
        scores = np.array([o.score for o in observations])
        scores = scores + compute_median_gains(scores, fidelity, trainings)
        _, allocations = np.unique(points, axis=0, return_inverse=True)
        # What is low because of its seed is not low.
        shifts = compute_seed_shifts(scores, allocations, seeds)
        scores = raise_low_scores(scores - shifts) + shifts
        center, scale = float(scores.mean()), float(scores.std())
        # Equal scores differ by rounding errors alone, which must not be scaled up.
        scale = scale if scale > 1e-9 * max(1.0, abs(center)) else 1.0
        rng = np.random.default_rng(seed)
        targets = (scores - center) / scale
        process = fit_gaussian_process(
            inputs, targets, rng, shared=shared, length_prior=length_prior
        )
        return cls(encoder, process, center=center, scale=scale, has_fidelity=has_fidelity)

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


def compute_median_gains(scores: Floats, fidelity: Floats, trainings: Labels) -> Floats:
    """Compute what each score would typically gain until the end of its training.

    This is the median gain between the score's fidelity and the end, over the trainings that
    reached their end. Without this correction, the common rise of scores hides the differences
    between allocations: in replays in which trials were pruned after a quarter of the training, the
    loss was minimised no better than by chance.

    Args:
        scores: Shape (n,).
        fidelity: Shape (n,).
        trainings: Number of the training that each score belongs to, shape (n,).

    Returns:
        Shape (n,); 0 at full fidelity, and at a fidelity of which no training reached its end.
    """
    ended = fidelity >= 1
    ends = dict(zip(trainings[ended], scores[ended], strict=True))
    gained = np.array([ends.get(t, np.nan) - s for t, s in zip(trainings, scores, strict=True)])
    median_gains = np.zeros(len(scores))
    for fraction in np.unique(fidelity[fidelity < 1]):
        at_fraction = fidelity == fraction
        finite = gained[at_fraction & np.isfinite(gained)]
        median_gains[at_fraction] = np.median(finite) if len(finite) else 0.0
    return median_gains


def compute_seed_shifts(scores: Floats, allocations: Labels, seeds: Labels) -> Floats:
    """Compute by how much scores differ because of their seeds.

    This is the median difference to the commonest seed, over the allocations that have both.

    Args:
        scores: Shape (n,).
        allocations: Number of the allocation of each score, shape (n,).
        seeds: Seed of each score, shape (n,).

    Returns:
        Shape (n,); 0 for the commonest seed, and for one that shares no allocation with it.
    """
    values, counts = np.unique(seeds, return_counts=True)
    means = pd.Series(scores).groupby([allocations, seeds]).mean().unstack()
    shifts = means.sub(means[values[np.argmax(counts)]], axis=0).median().fillna(0.0)
    return pd.Series(seeds).map(shifts).to_numpy()


def raise_low_scores(scores: Floats) -> Floats:
    """Raise very low scores to a floor, four times as far below the best as the median is.

    How low they are is no evidence of where the best allocations lie, but a process that has to fit
    such a cliff sees little difference between the best. Nothing is raised if there is no typical
    distance from the best: with fewer than three scores, or if the median equals the best.

    Args:
        scores: Shape (n,).

    Returns:
        Shape (n,).
    """
    top, typical = scores.max(), np.median(scores)
    if len(scores) < 3 or typical == top:
        return scores
    return np.asarray(np.maximum(scores, top - _FLOOR * (top - typical)))
