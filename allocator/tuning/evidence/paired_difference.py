"""The difference between two allocations, where both seeds and examples are random.

Seeds and examples are crossed: the difference of seed s on example i is
d_si = mu + a_s + b_i + e_si, with independent effects of seeds, of examples and of both together.
The mean of S seeds and N examples then has variance (MS_seed + MS_example - MS_residual) / (S N),
from the mean squares of a two-way analysis of variance without replication (Searle, Casella and
McCulloch 1992, Variance Components, chapter 4).

Shapes: S seeds, N examples.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Floats = npt.NDArray[np.float64]
Verdict = Literal["better", "not distinguishable", "worse"]

CONFIDENCE = 0.95
POWER = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """The mean difference between two allocations, choice minus baseline.

    Attributes:
        mean: Mean over seeds and examples.
        error: Its standard error.
        low: Lower end of its confidence interval at level `CONFIDENCE`.
        high: Upper end of that interval.
        detectable: Smallest true difference that as many seeds and examples distinguish from zero
            with probability `POWER`.
        covers_seeds: Whether error and interval hold for other seeds; False if there is one seed,
            which shows only how the difference varies over examples.
    """

    mean: float
    error: float
    low: float
    high: float
    detectable: float
    covers_seeds: bool

    def judge(self, *, higher_is_better: bool) -> Verdict:
        """Put the difference into words.

        Args:
            higher_is_better: True for a metric, False for a loss.

        Returns:
            "not distinguishable" if the interval includes zero, or does not cover seeds: if one
            seed adds as much variance as the examples, an interval over examples alone excludes
            zero for 17 of 100 pairs of equal allocations.
        """
        if not self.covers_seeds or self.low <= 0 <= self.high:
            return "not distinguishable"
        return "better" if (self.low > 0) == higher_is_better else "worse"


def compare_paired(
    differences_SN: Floats, *, seed_variance: tuple[float, float] | None = None
) -> PairedDifference:
    """Estimate the mean difference between two allocations, and what could have been found.

    The interval multiplies each component of the error by its own critical value of Student's t,
    and so holds its level however seeds and examples divide the variance (Banerjee 1960, Sankhya
    22:357). One critical value with Satterthwaite's degrees of freedom does not: in simulations up
    to 8% of its intervals missed with 3 seeds and 13% with 2, because seeds that agree by chance
    leave it with the degrees of freedom of the examples.

    Args:
        differences_SN: Choice minus baseline, shape (seeds, examples): one retraining of both
            allocations a row, the same examples in each.
        seed_variance: Prior estimate of the variance of one seed's mean difference over N
            examples, and its degrees of freedom. It is pooled with that of the rows, which must
            have the same true variance: if it is twice the prior's, up to 13% of intervals miss.

    Raises:
        ValueError: If there is no seed, there are fewer than two examples, or a value is not
            finite; or the prior's variance is negative or has less than one degree of freedom.
    """
    _require_differences(differences_SN)
    seeds, examples = differences_SN.shape
    variance = _Variance.estimate(differences_SN)
    if seed_variance is not None:
        _require_seed_variance(seed_variance)
        variance = variance.pool(*seed_variance, seeds=seeds)
    mean = float(differences_SN.mean())
    by_seeds, by_examples = variance.seed_freedom, examples - 1.0
    margin = variance.compute_root(_find_critical(by_seeds), _find_critical(by_examples))
    return PairedDifference(
        mean=mean,
        error=variance.compute_root(1.0, 1.0),
        low=mean - margin,
        high=mean + margin,
        detectable=variance.compute_root(_find_detectable(by_seeds), _find_detectable(by_examples)),
        covers_seeds=by_seeds > 0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Variance:
    """The variance of the mean, by components.

    Attributes:
        seeds: MS_seed / (S N), the variance of the mean that the seeds' means show.
        seed_freedom: Its degrees of freedom; 0 if there is one seed and no prior.
        residual: MS_residual / (S N); what seeds would show if none differed from another.
        examples: (MS_example - MS_residual) / (S N), at least 0; what more seeds would not reduce.
    """

    seeds: float
    seed_freedom: float
    residual: float
    examples: float

    @classmethod
    def estimate(cls, differences_SN: Floats) -> _Variance:
        seeds, examples = differences_SN.shape
        means_N, means_S = differences_SN.mean(axis=0), differences_SN.mean(axis=1)
        from_examples = float(means_N.var(ddof=1)) / examples
        # With one seed, what an example and a residual do cannot be told apart.
        if seeds == 1:
            return cls(seeds=0.0, seed_freedom=0.0, residual=0.0, examples=from_examples)
        residual_SN = differences_SN - means_N - means_S[:, None] + differences_SN.mean()
        freedom = (seeds - 1) * (examples - 1)
        residual = float(np.sum(residual_SN**2)) / freedom / differences_SN.size
        return cls(
            seeds=float(means_S.var(ddof=1)) / seeds,
            seed_freedom=seeds - 1.0,
            residual=residual,
            examples=max(from_examples - residual, 0.0),
        )

    def pool(self, variance: float, freedom: float, *, seeds: int) -> _Variance:
        """Add a prior estimate of the variance of one seed's mean."""
        total = self.seed_freedom + freedom
        pooled = (self.seed_freedom * self.seeds + freedom * variance / seeds) / total
        return _Variance(
            seeds=pooled, seed_freedom=total, residual=self.residual, examples=self.examples
        )

    def compute_root(self, by_seeds: float, by_examples: float) -> float:
        """Compute the root of the variance, each component's root multiplied by its factor."""
        # The residual has many degrees of freedom, so seeds that agree by chance count no less.
        from_seeds = max(by_seeds**2 * self.seeds, by_examples**2 * self.residual)
        return math.sqrt(from_seeds + by_examples**2 * self.examples)


def _find_critical(freedom: float) -> float:
    # Without degrees of freedom there is no such component, so any factor will do.
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) if freedom else 0.0


@functools.cache
def _find_detectable(freedom: float) -> float:
    """Find the difference, in standard errors, that Student's test finds with `POWER`."""
    if not freedom:
        return 0.0
    critical = _find_critical(freedom)

    def compute_excess(difference: float) -> float:
        # One tail: the other adds less than 1e-5.
        return float(stats.nct.sf(critical, freedom, difference)) - POWER

    # At 0 the power is 2.5%; at twice the usual approximation it is near 1.
    approximation = critical + float(stats.t.ppf(POWER, freedom))
    return float(optimize.brentq(compute_excess, 0.0, 2 * approximation))


def _require_differences(differences_SN: Floats) -> None:
    if differences_SN.ndim != 2 or differences_SN.shape[0] < 1 or differences_SN.shape[1] < 2:
        raise ValueError(
            "differences must have shape (seeds, examples) with at least one seed and two "
            f"examples, got {differences_SN.shape}"
        )
    if not np.isfinite(differences_SN).all():
        worst = differences_SN[~np.isfinite(differences_SN)][0]
        raise ValueError(f"differences must be finite, got {worst}")


def _require_seed_variance(seed_variance: tuple[float, float]) -> None:
    variance, freedom = seed_variance
    if not (0 <= variance < math.inf and 1 <= freedom < math.inf):
        raise ValueError(
            "seed_variance must be a variance of at least 0 and at least 1 degree of freedom, "
            f"got {seed_variance}"
        )
