"""Random response surfaces over allocations, shaped like what adapters show in training.

Every rank has diminishing returns of its own; some pairs of ranks help only together; parameters
beyond need overfit, so that the optimum may lie inside the budget; the base learning rate and the
core's have an optimum each, the core's moving with the ranks; and beyond a cliff of the core's rate
the score collapses to zero. Scores at earlier boundaries lag more at low learning rates and near
the cliff, so that learning curves cross.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allocator.tuning.space.space import Params, Space

Floats = npt.NDArray[np.float64]


class ResponseSurface:
    """One surface, drawn at random.

    Args:
        space: The search space.
        seed: Seed of the surface.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        rng = np.random.default_rng([9, seed])
        names = space.shape.rank_names
        bounds = np.minimum(np.array([space.shape.rank_bounds[name] for name in names]), 32)
        self._weights = 0.25 * rng.dirichlet(np.full(len(names), 1.5))
        self._saturation = np.maximum(bounds * rng.uniform(0.08, 0.5, len(names)), 0.5)
        self._pairs = np.triu(rng.uniform(-0.03, 0.06, (len(names), len(names))), k=1)
        self._overfitting = rng.uniform(0.0, 0.08)
        self._rate = rng.uniform(np.log(3e-4), np.log(3e-3))
        self._core_rate = rng.uniform(np.log(2e-3), np.log(1e-2))
        self._core_shift = rng.uniform(0.0, 0.3)
        self._rate_bend, self._core_bend = rng.uniform(0.005, 0.02), rng.uniform(0.005, 0.02)
        self._cliff = rng.uniform(1.2, 2.5)
        self._lags = rng.uniform([0.02, 0.0, 0.0, 0.0], [0.06, 0.05, 0.3, 0.06])
        self.best = self._maximum()

    def score(self, params: Params, fidelity: float = 1.0) -> float:
        """Give the noise-free score after a share of the training."""
        values = {**self.space.fixed, **params}
        ranks = np.array([list(self.space.read_ranks(params).values())], dtype=np.float64)
        rate = np.log(np.array([values["learning_rate"]]))
        core_rate = rate + np.log(values["core_lr_multiplier"])
        return float(self._scores(ranks, rate, core_rate, fidelity)[0])

    def _scores(
        self, ranks: Floats, rate: Floats, core_rate: Floats, fidelity: float = 1.0
    ) -> Floats:
        """Score n points: ranks of shape (n, names), logarithmic rates of shape (n,)."""
        others = np.prod(ranks, axis=1, keepdims=True) / ranks
        usable = np.minimum(ranks, others) if ranks.shape[1] > 1 else ranks
        size = np.log2(np.prod(usable, axis=1))
        counts = self.space.shape.count_parameters(
            {n: ranks[:, i].astype(np.int64) for i, n in enumerate(self.space.shape.rank_names)}
        )
        filled = counts / self.space.feasible.budget
        gains = 1 - np.exp(-usable / self._saturation)
        score = 0.35 + gains @ self._weights + np.einsum("ni,ij,nj->n", gains, self._pairs, gains)
        core_best = self._core_rate - self._core_shift * (size - 8)
        slow, off = self._rate - rate, core_rate - core_best
        score -= self._overfitting * filled**2
        score -= self._rate_bend * slow**2 + self._core_bend * off**2 / (1 + off**2 / 12)
        constant, by_rate, by_cliff, by_size = self._lags
        near = 1 / (1 + np.exp(-(off - self._cliff + 0.7) / 0.2))
        lag = constant + by_rate * np.maximum(slow, 0) + by_cliff * near + by_size * filled
        score -= lag * (1 / fidelity - 1) / 2
        alive = 1 / (1 + np.exp(np.minimum((off - self._cliff) / 0.1, 50)))
        return np.asarray(np.maximum(score, 0) * alive)

    def _maximum(self) -> float:
        points = self.space.feasible.points
        if points is None:
            points = self.space.feasible.sample(300_000, np.random.default_rng(0))
        ranks = points.astype(np.float64)
        rate = np.full(len(ranks), self._rate)
        size = np.log2(np.prod(ranks, axis=1))
        core_best = self._core_rate - self._core_shift * (size - 8)
        low, high = np.log(1.0), np.log(64.0)
        if fixed := self.space.fixed.get("core_lr_multiplier"):
            low = high = np.log(fixed)
        core_rate = rate + np.clip(core_best - rate, low, high)
        top = np.argsort(-self._scores(ranks, rate, core_rate))[:200]
        rates = np.linspace(np.log(1e-4), np.log(1e-2), 120)
        lambdas = np.linspace(low, high, 120 if high > low else 1)
        grid = np.stack(np.meshgrid(rates, lambdas), axis=-1).reshape(-1, 2)
        return max(
            float(
                self._scores(
                    np.repeat(ranks[i : i + 1], len(grid), 0), grid[:, 0], grid.sum(axis=1)
                ).max()
            )
            for i in top
        )
