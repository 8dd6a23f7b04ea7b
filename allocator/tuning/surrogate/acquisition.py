"""The acquisition of the search, noisy expected improvement, and its maximisation.

Shapes: n queried points, b observed points, m fantasies (draws of the scores of observed points).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, logsumexp, ndtr, ndtri
from scipy.stats import qmc

from allocator.allocation.factorizations import Flags
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.surrogate.surrogate import Surrogate

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
_ROOT_TAU = np.sqrt(2 * np.pi)
# With these numbers tests/benchmarks/README.md reports a regret of 5.9e-3 after 40 trials, and
# 0.10 seconds per ask.
_NUM_FANTASIES = 32  # draws of the observed points' scores; a power of two keeps Sobol balanced
_NUM_CANDIDATES = 2000  # random points that are compared before local search
_NUM_STARTS = 5  # best candidates that local search starts from
_NUM_SWEEPS = 14  # rounds of local search, with smaller rate steps from round to round
_RATE_STEPS_PER_START = 16  # random steps of the rates alone, in each sweep
# Standard deviation of a rate step in the unit cube, from crossing a range to refining a rate.
_FIRST_WIDTH, _LAST_WIDTH = 0.2, 0.002
_PROPOSAL_WIDTH = 0.1  # the same for moves from given starts, before the first sweep


class NoisyExpectedImprovement:
    """Logarithm of the expected improvement over the best of points whose scores are noisy.

    The noise-free scores of the observed points are drawn from their joint posterior. Given one
    such draw, a fantasy, the expected improvement has its usual closed form; the acquisition is the
    mean over fantasies (Letham et al. 2019, arXiv 1706.07094, section 4). Points in training count
    as observed, so that points near them promise little and the points of a batch differ.

    Args:
        surrogate: The fitted surrogate.
        observed: Points that have been tried or are in training, shape (b, columns).
        rng: Source of the draws.
        improved_on: Which of them the best is sought among, shape (b,); all if None, or if none
            is.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        observed: Points,
        rng: np.random.Generator,
        *,
        improved_on: Flags | None = None,
    ) -> None:
        self._surrogate, self._observed = surrogate, observed
        mean_b, _ = surrogate.predict(observed)
        covariance_bb = surrogate.compute_covariance(observed, observed)
        # Points that are close together make the posterior covariance nearly singular, and its
        # Cholesky factorization would fail.
        jitter = 1e-6 * float(np.mean(np.diag(covariance_bb))) + 1e-12
        self._cholesky = np.linalg.cholesky(covariance_bb + jitter * np.eye(len(observed)))
        # Sobol points cover the normal distribution more evenly than as many random ones. Clipping
        # keeps its quantile function away from 0 and 1, where it is infinite.
        draws_mb = qmc.Sobol(len(observed), rng=rng).random(_NUM_FANTASIES)
        normal_bm = ndtri(np.clip(draws_mb, 1e-6, 1 - 1e-6)).T
        scores_bm = mean_b[:, None] + self._cholesky @ normal_bm
        if improved_on is not None and improved_on.any():
            scores_bm = scores_bm[improved_on]
        self._best_m = np.max(scores_bm, axis=0)
        # inv(L L^T) times the fantasies' deviations L z from the mean is inv(L^T) z.
        self._weights_bm = np.linalg.solve(self._cholesky.T, normal_bm)

    def __call__(self, points: Points) -> Floats:
        """Compute the logarithm of the expected improvement of n points, shape (n,)."""
        mean_n, deviation_n = self._surrogate.predict(points)
        covariance_nb = self._surrogate.compute_covariance(points, self._observed)
        # Mean and variance of a point's score, conditioned on the fantasies without noise.
        mean_nm = mean_n[:, None] + covariance_nb @ self._weights_bm
        explained_bn = np.linalg.solve(self._cholesky, covariance_nb.T)
        variance_n = deviation_n**2 - np.sum(explained_bn**2, axis=0)
        # At an observed point the difference is zero up to rounding, perhaps below it.
        sigma_n = np.sqrt(np.maximum(variance_n, 1e-6 * deviation_n**2 + 1e-18))[:, None]
        improvement_nm = compute_log_improvement((mean_nm - self._best_m) / sigma_n) + np.log(
            sigma_n
        )
        return np.asarray(logsumexp(improvement_nm, axis=1) - np.log(_NUM_FANTASIES))


def compute_log_improvement(z: Floats) -> Floats:
    """Compute log(phi(z) + z Phi(z)) for the standard normal density phi and its integral Phi.

    This is the logarithm of the expected improvement of a score with mean z and variance 1 over 0.
    Ament et al. 2023 (arXiv 2310.20708), equation 9: far below zero the two summands nearly
    cancel and the result underflows, so that another form is used there.

    Args:
        z: Any shape.

    Returns:
        The shape of `z`.
    """
    # Each branch is computed for all entries, clamped to where it is accurate.
    near, far = np.maximum(z, -1.0), np.minimum(z, -1.0)
    above = np.log(np.exp(-0.5 * near**2) / _ROOT_TAU + near * ndtr(near))
    # log(phi(z) + z Phi(z)) = log(phi(z)) + log(1 + z Phi(z) / phi(z)). The ratio Phi / phi, Mills'
    # ratio, is a scaled complementary error function and does not underflow.
    # Below -1000, 1 + z times the ratio is about 1 / z^2, which rounding errors would swamp; its
    # logarithm -2 log(-z) is used instead.
    mills = np.sqrt(np.pi / 2) * erfcx(-far / np.sqrt(2))
    below = np.log1p(np.maximum(far, -1e3) * np.where(far < -1e3, 0.0, mills))
    below = np.where(far < -1e3, -2 * np.log(-far), below) - 0.5 * far**2 - np.log(_ROOT_TAU)
    return np.asarray(np.where(z > -1.0, above, below))


def maximize_acquisition(
    acquisition: Callable[[Points], Floats],
    domain: Domain,
    are_allowed: Callable[[Points], Flags],
    starts: Points,
    rng: np.random.Generator,
) -> Points:
    """Find points of high acquisition: random ones, then local search from the best of them.

    Args:
        acquisition: Function of points of shape (n, columns), with values of shape (n,).
        domain: The points to choose from.
        are_allowed: Whether each point of shape (n, columns) may be proposed, shape (n,).
        starts: Further candidates, shape (s, columns), whose neighbours are candidates too.
        rng: Source of candidates and steps.

    Returns:
        Allowed points, best first, shape (at most 5, columns); none if no candidate is allowed.
    """
    pool = [
        domain.sample_points(_NUM_CANDIDATES, rng),
        _list_neighbours(domain, starts, _PROPOSAL_WIDTH, rng)[0],
        starts,
    ]
    candidates = np.concatenate(pool)
    candidates = candidates[are_allowed(candidates)]
    if not len(candidates):
        return candidates
    values = acquisition(candidates)
    order = np.argsort(-values, kind="stable")[:_NUM_STARTS]
    best, best_values = candidates[order], values[order]
    # Each start moves to its best neighbour if that is better; otherwise it stays for a finer
    # sweep.
    for width in np.geomspace(_FIRST_WIDTH, _LAST_WIDTH, _NUM_SWEEPS):
        moves, start = _list_neighbours(domain, best, width, rng)
        kept = are_allowed(moves)
        moves, start = moves[kept], start[kept]
        if not len(moves):
            continue
        values = acquisition(moves)
        # After sorting by start and then by value, the last entry of each start is its best move.
        order = np.lexsort((values, start))
        last = order[np.flatnonzero(np.diff(start[order], append=-1))]
        better = last[values[last] > best_values[start[last]]]
        best[start[better]], best_values[start[better]] = moves[better], values[better]
    return best[np.argsort(-best_values, kind="stable")]


def _list_neighbours(
    domain: Domain, points: Points, width: float, rng: np.random.Generator
) -> tuple[Points, Rows]:
    """List the neighbours of points for local search.

    There are three kinds: rank moves with the rates kept, the same rank moves with shifted rates
    (other ranks train best at other rates), and shifted rates with the ranks kept.

    Args:
        domain: The points to choose from.
        points: Shape (n, columns).
        width: Standard deviation of the shifts, in the unit cube of rates.
        rng: Source of the shifts.

    Returns:
        The neighbours, shape (moves, columns), and for each the row of `points` that it starts
        from, shape (moves,).
    """
    ranks, rates = domain.read_ranks(points), domain.read_unit_rates(points)
    moved, start = domain.list_rank_moves(ranks)
    if not domain.rate_names:
        return domain.join_rates(moved, rates[start]), start
    kept = np.repeat(np.arange(len(points)), _RATE_STEPS_PER_START)
    shifted_ranks, origin = np.concatenate([moved, ranks[kept]]), np.concatenate([start, kept])
    shifted = rates[origin] + width * rng.standard_normal((len(shifted_ranks), rates.shape[1]))
    moves = [
        domain.join_rates(moved, rates[start]),
        domain.join_rates(shifted_ranks, np.clip(shifted, 0.0, 1.0)),
    ]
    return np.concatenate(moves), np.concatenate([start, origin])
