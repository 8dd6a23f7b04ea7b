"""The race: which of the leading allocations is trained with another seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocator.allocation.factorizations import Flags
from allocator.tuning.evidence.expectations import Expectations

SEARCH_SEEDS = 8
"""Largest number of seeds of one allocation in a search; the verdict's seeds come after them."""


def choose_contenders(
    expectations: Expectations,
    places: int,
    *,
    num_seeds: Sequence[int],
    groups: Sequence[Flags] = (),
) -> list[int]:
    """Choose the allocations whose next seeds tell most about which allocation is best.

    Top-two sampling with the transportation cost (Shang et al. 2020, arXiv 1910.10945, section
    3.1), without its randomness: the leader is the allocation of highest mean, its challenger the
    one that most likely is better still. Of these two the less certain one is trained. Each choice
    counts as if it had been measured before the next is made.

    Args:
        expectations: What is expected of the allocations.
        places: Number of trainings to choose.
        num_seeds: Seeds that every allocation has had so far.
        groups: The allocations among which the first place seeks the best, the second, and so on
            in turn, each of shape (n,); all allocations if there are none. A group of which all had
            `SEARCH_SEEDS` leaves its place to all allocations.

    Returns:
        Indices of allocations, with repeats; fewer than `places` if all had `SEARCH_SEEDS`.
    """
    covariance = expectations.covariance.copy()
    counts, chosen = list(num_seeds), []
    everything = np.ones(len(counts), dtype=np.bool_)
    groups = groups or [everything]
    for place in range(places):
        group = groups[place % len(groups)]
        if np.array(counts)[group].min() >= SEARCH_SEEDS:
            group = everything
        mean = np.where(group, expectations.mean, -np.inf)
        leader = int(np.argmax(mean))
        variances = np.diag(covariance)
        between = np.maximum(variances + variances[leader] - 2 * covariance[leader], 1e-30)
        gap = (mean[leader] - mean) / np.sqrt(between)
        gap[leader] = np.inf
        # Challengers from the likeliest on; the first that can still be trained, or the leader.
        order = np.argsort(gap, kind="stable")
        pairs = [(leader, int(i)) for i in order if i != leader and group[i]]
        pairs = pairs or [(leader, leader)]
        open_ones = (
            max(open_pair, key=lambda i: float(variances[i]))
            for pair in pairs
            if (open_pair := [i for i in pair if counts[i] < SEARCH_SEEDS])
        )
        index = next(open_ones, None)
        if index is None:
            break
        chosen.append(index)
        counts[index] += 1
        column = covariance[:, index]
        covariance = covariance - np.outer(column, column) / (
            covariance[index, index] + expectations.noise
        )
    return chosen
