"""The first few of a ranked list that are no near-copies of each other."""

from __future__ import annotations

import numpy as np

from allocator.allocation.factorizations import Counts

_DISTANCE = 1.0  # in doublings, over all ranks together


def diverse(points: Counts, number: int) -> Counts:
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
