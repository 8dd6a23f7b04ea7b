"""Random surfaces of what allocations are truly worth, with the luck of recorded trainings.

A surface has an optimum of its rates and of the ratios of its ranks, drawn at random. How much the
number of parameters matters, and up to which, is that of its kind.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from replay import TableWorker
from tables import BUDGET, MINILM, Curve, Table

from allocator.allocation.allocation import Allocation
from allocator.training.messages import Job
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Params, make_baseline_params

SMALLER = (10_000, 20_000)
SURFACES: Mapping[str, tuple[float, float]] = {
    # What half the parameters lose, in calibrated loss, and from how many parameters on nothing.
    "flat": (0.006, 7_500),
    "knee": (0.006, 15_000),
    "gains": (0.006, BUDGET),
    "gains little": (0.003, BUDGET),
    "knee little": (0.003, 15_000),
    "flat little": (0.003, 7_500),
}


class Surface(Table):
    """What allocations are truly worth, with the luck of a table's trainings.

    Args:
        table: The table.
        kind: One of `SURFACES`.
        number: Number of the surface, which draws where its optimum lies.
    """

    def __init__(self, table: Table, kind: str, number: int) -> None:
        base = make_baseline_params(table.space)
        curves = [table.list_curves(0)] * 2
        super().__init__(
            *(table.space_name, [base] * 2, curves, table.truth[[0, 0]], table.baseline),
            expected=table.truth[[0, 0]],
        )
        self.space = build_space(self.file, MINILM, BUDGET, SMALLER)
        self._luck, self._floor = table, float(table.truth[table.sound].min())
        self._half, self._enough = SURFACES[kind]
        rng = np.random.default_rng([11, number])
        self._rate = rng.uniform(np.log(5e-4), np.log(3e-3))
        self._core_rate = rng.uniform(np.log(2e-3), np.log(1e-2))
        self._ratios = rng.uniform(-1.0, 1.0, 2)

    def compute_truth(self, size: int, allocation: Allocation) -> float:
        """Compute what an allocation of some parameters is worth."""
        ranks, rate = allocation.ranks, np.log(allocation.learning_rate)
        core_rate = rate + np.log(allocation.core_lr_multiplier)
        others = np.log([ranks["heads"], ranks["head_dim"]])
        unlike = np.log(ranks["input"]) - others - self._ratios
        off = 1.0 * (rate - self._rate) ** 2 + 1.5 * (core_rate - self._core_rate) ** 2
        off = 1e-3 * (off + float(unlike @ unlike))
        missing = max(0.0, np.log2(self._enough / size))
        return float(self._floor + self._half * missing + off / (1 + off / 0.03))

    def read_truth(self, params: Params) -> float:
        """Compute what the allocation of some parameters is worth."""
        return self.compute_truth(
            self.space.num_parameters(params), self.space.make_allocation(params)
        )

    def draw_training(self, job: Job, search: int) -> Curve:
        """Draw a training of a job's allocation."""
        shape, allocation = job.spec.shape, job.allocation
        text = f"{sorted(allocation.ranks.items())} {allocation.learning_rate!r} "
        place = zlib.crc32(f"{text}{allocation.core_lr_multiplier!r}".encode())
        loss, _ = self._luck.draw_luck(place, job.seed, search)
        rng = np.random.default_rng([search, job.seed, place, 2])
        curves = self._luck.list_curves(int(rng.choice(np.flatnonzero(self._luck.sound))))
        truth = self.compute_truth(shape.num_parameters(allocation.ranks), allocation)
        return curves[int(rng.integers(len(curves)))].end_at(truth + loss)


class SurfaceWorker(TableWorker):
    """A worker whose trainings end where a surface has them."""

    def __init__(self, table: Table, search: int, slots: int) -> None:
        super().__init__(table, search, slots)
        assert isinstance(table, Surface)
        self._surface, self._number = table, search

    def draw(self, job: Job) -> Curve:
        """Draw a training of a job's allocation."""
        return self._surface.draw_training(job, self._number)
