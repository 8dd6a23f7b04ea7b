"""What the surrogate's Gaussian process is fitted to: inputs, standardised scores, shared noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from allocator.tuning.space.space import Space
from allocator.tuning.surrogate.encoder import Encoder
from allocator.tuning.surrogate.gaussian_process import SharedNoise, make_dimension_scaled_prior
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """Observations as a Gaussian process takes them.

    Attributes:
        encoder: Encoder of the space.
        inputs: Shape (n, inputs), the fidelity last if there are early scores.
        scores: Standardised scores, shape (n,).
        shared: Noise that observations of one training, or of one seed, have in common.
        center: Score whose standardised value is 0.
        scale: Difference of scores whose standardised value is 1.
        has_fidelity: Whether the last input is the fidelity.
    """

    encoder: Encoder
    inputs: Floats
    scores: Floats
    shared: Sequence[SharedNoise]
    center: float
    scale: float
    has_fidelity: bool

    def make_length_prior(self, prior: tuple[float, float] | None = None) -> Floats:
        """Make the prior of log length scales: means and deviations, shape (2, inputs).

        Args:
            prior: Mean and deviation for all inputs but the fidelity; by default the
                dimension-scaled prior.
        """
        own = self.inputs.shape[1] - self.has_fidelity
        lengths = make_dimension_scaled_prior(own)
        if prior is not None:
            lengths = np.repeat(np.array(prior)[:, None], own, axis=1)
        if self.has_fidelity:
            lengths = np.hstack([lengths, np.array([_FIDELITY_PRIOR]).T])
        return lengths


def make_targets(space: Space, observations: Sequence[Observation], *, raises_low: bool) -> Targets:
    """Make what a surrogate is fitted to.

    Scores of collapsed trainings are left out, unless there are no others: how low they are is no
    evidence of where the best allocations lie. `Survival` learns where trainings collapse.

    Args:
        space: The search space.
        observations: At least one; points may repeat, and all scores may be equal.
        raises_low: Whether very low scores are raised, as `raise_low_scores` does.

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
    # Without early scores the fidelity is constant, and its length scale cannot be fitted.
    has_fidelity = bool(np.any(fidelity < 1))
    if has_fidelity:
        inputs = np.hstack([inputs, fidelity[:, None]])
    scores = np.array([o.score for o in observations])
    scores = scores + compute_median_gains(scores, fidelity, trainings)
    if raises_low:
        _, allocations = np.unique(points, axis=0, return_inverse=True)
        # What is low because of its seed is not low.
        shifts = compute_seed_shifts(scores, allocations, seeds)
        scores = raise_low_scores(scores - shifts) + shifts
    center, scale = float(scores.mean()), float(scores.std())
    # Equal scores differ by rounding errors alone, which must not be scaled up.
    scale = scale if scale > 1e-9 * max(1.0, abs(center)) else 1.0
    return Targets(
        encoder=encoder,
        inputs=inputs,
        scores=(scores - center) / scale,
        shared=shared,
        center=center,
        scale=scale,
        has_fidelity=has_fidelity,
    )


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
