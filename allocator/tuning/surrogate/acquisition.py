"""Where to look next: the noisy expected improvement of feasible points, and its maximiser."""

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
_FANTASIES = 32
_CANDIDATES = 2000
_STARTS = 5
_SWEEPS = 14
_RATE_STEPS = 16


class NoisyExpectedImprovement:
    """Logarithm of the expected improvement over the best of points whose scores are noisy.

    The noise-free scores of the points tried so far, and of those still in training, are drawn
    from their joint posterior; each draw gives an ordinary expected improvement, and their mean is
    taken (Letham et al. 2019, arXiv 1706.07094, section 4). A point in training thus counts as
    known, and a batch of proposals spreads.

    Args:
        surrogate: The fitted surrogate.
        base: Points tried or in training, shape (b, columns).
        rng: Source of the draws.
    """

    def __init__(self, surrogate: Surrogate, base: Points, rng: np.random.Generator) -> None:
        self._surrogate, self._base = surrogate, base
        mean_b, _ = surrogate.predict(base)
        covariance_bb = surrogate.compute_covariance(base, base)
        jitter = 1e-6 * float(np.mean(np.diag(covariance_bb))) + 1e-12
        self._cholesky = np.linalg.cholesky(covariance_bb + jitter * np.eye(len(base)))
        draws = qmc.Sobol(len(base), rng=rng).random(_FANTASIES)
        normal_bm = ndtri(np.clip(draws, 1e-6, 1 - 1e-6)).T
        self._best_m = np.max(mean_b[:, None] + self._cholesky @ normal_bm, axis=0)
        self._weights_bm = np.linalg.solve(self._cholesky.T, normal_bm)

    def __call__(self, points: Points) -> Floats:
        """Give the logarithm of the expected improvement of n points, shape (n,)."""
        mean_n, deviation_n = self._surrogate.predict(points)
        covariance_nb = self._surrogate.compute_covariance(points, self._base)
        mean_nm = mean_n[:, None] + covariance_nb @ self._weights_bm
        known_bn = np.linalg.solve(self._cholesky, covariance_nb.T)
        variance_n = deviation_n**2 - np.sum(known_bn**2, axis=0)
        sigma_n = np.sqrt(np.maximum(variance_n, 1e-6 * deviation_n**2 + 1e-18))[:, None]
        improvement_nm = compute_log_improvement((mean_nm - self._best_m) / sigma_n) + np.log(
            sigma_n
        )
        return np.asarray(logsumexp(improvement_nm, axis=1) - np.log(_FANTASIES))


def compute_log_improvement(z: Floats) -> Floats:
    """Give log(phi(z) + z Phi(z)), accurate far below zero too (Ament et al. 2023, equation 9)."""
    near, far = np.maximum(z, -1.0), np.minimum(z, -1.0)
    above = np.log(np.exp(-0.5 * near**2) / _ROOT_TAU + near * ndtr(near))
    # Mills' ratio Phi(far) / phi(far); beyond -1000 its product with far rounds to -1.
    mills = np.sqrt(np.pi / 2) * erfcx(-far / np.sqrt(2))
    below = np.log1p(np.maximum(far, -1e3) * np.where(far < -1e3, 0.0, mills))
    below = np.where(far < -1e3, -2 * np.log(-far), below) - 0.5 * far**2 - np.log(_ROOT_TAU)
    return np.asarray(np.where(z > -1.0, above, below))


def maximize_acquisition(
    acquisition: Callable[[Points], Floats],
    domain: Domain,
    allowed: Callable[[Points], Flags],
    starts: Points,
    rng: np.random.Generator,
) -> Points:
    """Find a point of high acquisition: many at random, then local search from the best.

    Args:
        acquisition: Function of points of shape (n, columns).
        domain: The points to choose from.
        allowed: Tells which points may be proposed.
        starts: More points to start from, and to choose where they are allowed.
        rng: Source of candidates and steps.

    Returns:
        Points, best first; none where nothing is allowed.
    """
    pool = [
        domain.sample_points(_CANDIDATES, rng),
        _list_moves(domain, starts, 0.1, rng)[0],
        starts,
    ]
    candidates = np.concatenate(pool)
    candidates = candidates[allowed(candidates)]
    if not len(candidates):
        return candidates
    values = acquisition(candidates)
    order = np.argsort(-values, kind="stable")[:_STARTS]
    best, best_values = candidates[order], values[order]
    for width in np.geomspace(0.2, 0.002, _SWEEPS):
        moves, start = _list_moves(domain, best, width, rng)
        kept = allowed(moves)
        moves, start = moves[kept], start[kept]
        if not len(moves):
            continue
        values = acquisition(moves)
        # The last of a start's entries in this order is its best move.
        order = np.lexsort((values, start))
        last = order[np.flatnonzero(np.diff(start[order], append=-1))]
        better = last[values[last] > best_values[start[last]]]
        best[start[better]], best_values[start[better]] = moves[better], values[better]
    return best[np.argsort(-best_values, kind="stable")]


def _list_moves(
    domain: Domain, points: Points, width: float, rng: np.random.Generator
) -> tuple[Points, Rows]:
    """List rank moves, with the rates kept and with them shifted, and rate steps alone.

    Returns:
        The moves, and for each the row of `points` that it starts from.
    """
    ranks, rates = domain.read_ranks(points), domain.read_unit_rates(points)
    moved, start = domain.list_rank_moves(ranks)
    if not domain.rate_names:
        return domain.join_rates(moved, rates[start]), start
    still = np.repeat(np.arange(len(points)), _RATE_STEPS)
    steps, origin = np.concatenate([moved, ranks[still]]), np.concatenate([start, still])
    shifted = rates[origin] + width * rng.standard_normal((len(steps), rates.shape[1]))
    moves = [
        domain.join_rates(moved, rates[start]),
        domain.join_rates(steps, np.clip(shifted, 0.0, 1.0)),
    ]
    return np.concatenate(moves), np.concatenate([start, origin])
