"""Prior `truncation`: ranks whose predicted loss is least, from cutting the trained baseline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from allocator.allocation import FeasibleSet
from allocator.allocation.factorizations import Counts
from allocator.tuning.priors.baseline_evidence import Baseline

_DISTANCE = 1.0  # in doublings, over all ranks together

Floats = npt.NDArray[np.float64]
_LISTED = 4
_SAMPLED = 300_000
_DECIMALS = 9  # predicted losses that differ by less are the same


def propose_by_truncation(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List the ranks of least predicted loss; of equal ones, that of fewest parameters first."""
    points = feasible.points
    if points is None:
        points = np.unique(feasible.sample(_SAMPLED, np.random.default_rng(0)), axis=0)
    losses = np.round(predict_losses(feasible, baseline.truncation, points), _DECIMALS)
    order = np.lexsort((feasible.count_parameters(points), losses))
    return [feasible.point_to_ranks(point) for point in select_diverse(points[order], _LISTED)]


def predict_losses(feasible: FeasibleSet, truncation: pd.DataFrame, points: Counts) -> Floats:
    """Predict calibrated losses: that of the baseline, and what each mode's own rank adds to it.

    Args:
        feasible: The feasible set.
        truncation: Columns `mode`, `rank`, `loss`; a mode without rows adds nothing.
        points: Ranks, shape (n, names).

    Returns:
        Shape (n,).
    """
    measured = truncation[np.isfinite(truncation["loss"].astype(float))]
    untruncated, total = [], np.zeros(len(points))
    for i, name in enumerate(feasible.names):
        rows = measured[measured["mode"] == name].groupby("rank")["loss"].mean()
        if not len(rows):
            continue
        ranks, losses = rows.index.to_numpy(dtype=np.int64), rows.to_numpy(dtype=np.float64)
        untruncated.append(losses[-1])
        total += predict_increases(ranks, losses, largest=int(feasible.choices[name][-1]))[
            points[:, i] - 1
        ]
    return total + (float(np.mean(untruncated)) if untruncated else 0.0)


def predict_increases(ranks: Counts, losses: Floats, *, largest: int) -> Floats:
    """Predict what a mode's rank adds to the loss of the baseline.

    Up to the baseline's rank r0 these are measured losses, each raised to the largest at a larger
    rank, so that noise cannot make a smaller rank the better one. Ranks between measured ones
    follow the logarithm of the rank.

    Beyond r0 the loss falls as c (1/r - 1/r0): what a cut discards is a tail of energies, and a
    tail whose energies fall with the square of the rank sums to c/r, so that every doubling gains
    half as much as the one before, and all together no more than c/r0. The curve's own end, from
    r0/2 to r0, gives c by least squares; a mode that loses nothing there gains nothing beyond.

    Args:
        ranks: Measured ranks, ascending, the baseline's last, shape (n,).
        losses: Held-out losses at them, shape (n,).
        largest: The largest rank to predict for.

    Returns:
        Increases at ranks 1 to `largest`, none larger than the one before, shape (largest,).
    """
    own = int(ranks[-1])
    raised = np.maximum.accumulate((losses - losses[-1])[::-1])[::-1]
    wanted = np.arange(1, largest + 1, dtype=np.float64)
    curve = np.interp(np.log(wanted), np.log(ranks), raised)
    near = (ranks >= own / 2) & (ranks < own)
    tail = 1 / ranks[near] - 1 / own
    slope = float(raised[near] @ tail / (tail @ tail)) if near.any() else 0.0
    return np.asarray(np.where(wanted > own, slope * (1 / wanted - 1 / own), curve))


def select_diverse(points: Counts, number: int) -> Counts:
    """Take the first points of a list that lie apart, by Euclidean distance of log2 ranks.

    Each next one is the first that lies at least one doubling from all taken before; where none
    does, half as far is enough, and so on.

    Args:
        points: Distinct ranks, best first, shape (n, names).
        number: Points to take.

    Returns:
        Shape (min(n, number), names).
    """
    logs = np.log2(points)
    nearest = np.full(len(points), np.inf)
    taken: list[int] = []
    distance = _DISTANCE
    while len(taken) < min(number, len(points)):
        apart = nearest >= distance
        if not apart.any():
            distance /= 2
            continue
        first = int(np.argmax(apart))
        taken.append(first)
        nearest = np.minimum(nearest, np.linalg.norm(logs - logs[first], axis=1))
        nearest[first] = -1.0
    return points[taken]
