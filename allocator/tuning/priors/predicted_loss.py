"""Prior `truncation`: ranks of least loss, predicted from truncations of the trained baseline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from allocator.allocation.factorizations import Counts
from allocator.allocation.feasible_set import FeasibleSet
from allocator.tuning.priors.baseline_evidence import Baseline

Floats = npt.NDArray[np.float64]
_NUM_LISTED = 4  # proposals; `list_proportional_ranks` makes as many for the other priors
_NUM_SAMPLED = 300_000  # ranks that are compared if the feasible set is too large to list
_DECIMALS = 9  # predicted losses are compared to this many decimals
_FIRST_DISTANCE = 1.0  # between proposals, in doublings of ranks


def propose_by_truncation(feasible: FeasibleSet, baseline: Baseline) -> list[dict[str, int]]:
    """List diverse ranks of least predicted loss; at equal loss fewer parameters come first."""
    points = feasible.points
    if points is None:
        # Distinct, as `select_diverse` requires, and always the same sample.
        points = np.unique(feasible.sample(_NUM_SAMPLED, np.random.default_rng(0)), axis=0)
    # If truncating a mode costs nothing, many losses differ by rounding errors alone, and the
    # number of parameters must decide.
    losses = np.round(predict_losses(feasible, baseline.truncation, points), _DECIMALS)
    # The last key of `lexsort` is the first to sort by: losses, then parameters.
    order = np.lexsort((feasible.count_parameters(points), losses))
    return [feasible.point_to_ranks(point) for point in select_diverse(points[order], _NUM_LISTED)]


def predict_losses(feasible: FeasibleSet, truncation: pd.DataFrame, points: Counts) -> Floats:
    """Predict calibrated losses as the baseline's plus what the rank of each mode adds to it.

    The modes' additions are summed as if they were independent, because modes are
    truncated one at a time.

    Args:
        feasible: The feasible set.
        truncation: Columns `mode`, `rank`, `loss`; a mode without rows adds nothing.
        points: Ranks, shape (n, names).

    Returns:
        Losses, shape (n,).
    """
    # The calibrated loss is infinite where an output was not finite.
    measured = truncation[np.isfinite(truncation["loss"].astype(float))]
    untruncated, total = [], np.zeros(len(points))
    for i, name in enumerate(feasible.names):
        rows = measured[measured["mode"] == name].groupby("rank")["loss"].mean()
        if not len(rows):
            continue
        ranks, losses = rows.index.to_numpy(dtype=np.int64), rows.to_numpy(dtype=np.float64)
        # The largest rank is the baseline's own: nothing is truncated there.
        untruncated.append(losses[-1])
        # Entry r - 1 belongs to rank r.
        total += predict_increases(ranks, losses, largest=int(feasible.choices[name][-1]))[
            points[:, i] - 1
        ]
    return total + (float(np.mean(untruncated)) if untruncated else 0.0)


def predict_increases(ranks: Counts, losses: Floats, *, largest: int) -> Floats:
    """Predict what a mode's rank adds to the loss of the baseline.

    Up to the baseline's rank r0, increases are measured. Each is raised to the largest increase at
    a larger rank, so that noise cannot make a smaller rank look better. Between measured ranks the
    increase is interpolated linearly in the logarithm of the rank.

    Beyond r0 the increase is c (1/r - 1/r0), which is negative. The reason: truncation to rank
    r discards the energies of all later singular values, and if these fall with the square of their
    index, the discarded sum is about c/r. Every doubling of the rank then gains half as much as
    the one before, and all doublings together gain no more than c/r0. Least squares over the
    measured ranks from r0/2 to r0 give c; a mode that loses nothing there is predicted to gain
    nothing beyond.

    Args:
        ranks: Measured ranks, ascending up to the baseline's, shape (n,).
        losses: Held-out losses at these ranks, shape (n,).
        largest: The largest rank to predict for.

    Returns:
        Increases at ranks 1 to `largest`, never rising, shape (largest,).
    """
    baseline_rank = int(ranks[-1])
    # A running maximum from the largest rank down.
    raised = np.maximum.accumulate((losses - losses[-1])[::-1])[::-1]
    all_ranks = np.arange(1, largest + 1, dtype=np.float64)
    interpolated = np.interp(np.log(all_ranks), np.log(ranks), raised)
    near = (ranks >= baseline_rank / 2) & (ranks < baseline_rank)
    tail = 1 / ranks[near] - 1 / baseline_rank
    # Least squares of a line through the origin, for one unknown: c = <y, x> / <x, x>.
    slope = float(raised[near] @ tail / (tail @ tail)) if near.any() else 0.0
    extrapolated = slope * (1 / all_ranks - 1 / baseline_rank)
    return np.asarray(np.where(all_ranks > baseline_rank, extrapolated, interpolated))


def select_diverse(points: Counts, number: int) -> Counts:
    """Select the best points of a list that lie apart, by Euclidean distance of log2 ranks.

    The best ranks are often neighbours, and training all of them would show little. So each next
    point is the best one that lies at least one doubling from all points selected before. If
    there is none, the distance is halved, and so on.

    Args:
        points: Distinct ranks, best first, shape (n, names).
        number: Number of points to select.

    Returns:
        Selected points in the order of selection, shape (min(n, number), names).
    """
    logs = np.log2(points)
    # Infinitely far from the empty selection, so that the best point is always the first.
    nearest = np.full(len(points), np.inf)
    selected: list[int] = []
    distance = _FIRST_DISTANCE
    while len(selected) < min(number, len(points)):
        apart = nearest >= distance
        if not apart.any():
            distance /= 2
            continue
        first = int(np.argmax(apart))
        selected.append(first)
        nearest = np.minimum(nearest, np.linalg.norm(logs - logs[first], axis=1))
        nearest[first] = -1.0  # below any distance, so that it is not selected again
    return points[selected]
