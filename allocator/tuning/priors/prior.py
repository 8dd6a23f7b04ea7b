"""What is believed before a search: a ranked list of proposals, and the density around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from allocator.allocation.feasible_union import VARIANT
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Params, Space

Floats = npt.NDArray[np.float64]
_RANK_WIDTH = 0.5  # in natural logarithms: a factor of 1.6
_RATE_WIDTH = 0.7  # a factor of 2
_ELSEWHERE = 0.02  # density far from all proposals, over the weight of the first


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """Proposals for a search, and a density over its space.

    Attributes:
        name: Which prior it is.
        space: The search space.
        proposals: Whole parameters of trials as Optuna has them, best guess first; at least one.
    """

    name: str
    space: Space
    proposals: tuple[Params, ...]

    @property
    def points(self) -> Points:
        """The proposals as points of the space's domain, shape (proposals, columns)."""
        return Domain(self.space).params_to_points(self.proposals)

    def compute_log_density(self, points: Points) -> Floats:
        """Give the logarithm of the density, 0 at the proposal where it is largest.

        A Gaussian in log ranks and log rates stands around every proposal, with a weight of one
        over its place in the list, and a small uniform part keeps every point possible. Where a
        space has several shapes, a Gaussian does not reach from one into another.

        Args:
            points: Points of the domain, shape (n, columns).

        Returns:
            Shape (n,).
        """
        peak = float(self._compute_log_mixture(self.points).max())
        return self._compute_log_mixture(points) - peak

    def _compute_log_mixture(self, points: Points) -> Floats:
        domain = Domain(self.space)
        centers = domain.params_to_points(self.proposals)
        widths = [_RANK_WIDTH] * len(domain.rank_names) + [_RATE_WIDTH] * len(domain.rate_names)
        steps = (np.log(points)[:, None] - np.log(centers)[None]) / np.array(widths)
        log_gaussian = -0.5 * np.sum(steps**2, axis=2)
        if VARIANT in domain.columns:
            same = points[:, None, 0] == centers[None, :, 0]
            log_gaussian = np.where(same, log_gaussian, -np.inf)
        log_weights = -np.log(np.arange(1, len(centers) + 1))
        mixture = logsumexp(log_gaussian + log_weights, axis=1)
        return np.asarray(np.logaddexp(mixture, np.log(_ELSEWHERE)))
