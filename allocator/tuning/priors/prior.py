"""A prior: proposals in the order in which to try them, and a density around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from allocator.allocation.feasible_union import VARIANT
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Params, Space

Floats = npt.NDArray[np.float64]
# Standard deviations of the Gaussians in natural logarithms: a factor of 1.6 for ranks, and of 2
# for rates, by which neighbouring core rates that priors propose differ.
_RANK_WIDTH = 0.5
_RATE_WIDTH = 0.7
_UNIFORM_WEIGHT = 0.02  # density far from all proposals, relative to that of the first proposal


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """Proposals for a search, and a density over its space.

    Attributes:
        name: Name of the prior.
        space: The search space.
        proposals: At least one proposal, each with all parameters of a trial, best guess first.
    """

    name: str
    space: Space
    proposals: tuple[Params, ...]

    @property
    def points(self) -> Points:
        """The proposals as points of the space's domain, shape (proposals, columns)."""
        return Domain(self.space).params_to_points(self.proposals)

    def compute_log_density(self, points: Points) -> Floats:
        """Compute the logarithm of the density, scaled to 0 at the proposal where it is largest.

        The density is a mixture of a Gaussian in log ranks and log rates around every proposal,
        with weights 1, 1/2, 1/3, ... in the order of proposals, and of a small uniform part that
        keeps every point possible. In a space of several shapes each Gaussian is limited to the
        shape of its proposal.

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
        # Shape (n, proposals, columns).
        steps = (np.log(points)[:, None] - np.log(centers)[None]) / np.array(widths)
        # Not normalised: all Gaussians have the same widths, and the peak is scaled to 1 anyway.
        log_gaussian = -0.5 * np.sum(steps**2, axis=2)
        if VARIANT in domain.columns:
            # Ranks of different shapes are not comparable.
            same = points[:, None, 0] == centers[None, :, 0]
            log_gaussian = np.where(same, log_gaussian, -np.inf)
        log_weights = -np.log(np.arange(1, len(centers) + 1))
        mixture = logsumexp(log_gaussian + log_weights, axis=1)
        return np.asarray(np.logaddexp(mixture, np.log(_UNIFORM_WEIGHT)))
