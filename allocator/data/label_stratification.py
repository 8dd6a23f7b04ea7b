"""Draw examples that may have several labels, so that each label keeps its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Shapes: N examples, L labels, P parts


def draw_by_labels(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.intp]:
    """Draw `size` examples that have every label about as often as all of them have.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, On the Stratification of
    Multi-label Data): from the rarest label on, each example goes to the part that lacks most of
    the label.

    Args:
        labels: 1 where an example has a label and 0 elsewhere, shape (examples, labels).
        size: Number of examples to draw.
        seed: Seed of the choice.

    Returns:
        The indices of the examples, in ascending order.
    """
    examples = len(labels)
    order_N = np.random.default_rng(seed).permutation(examples)
    # The drawn come first, so that of two parts that lack as much they get the example.
    room_P = np.array([size, examples - size])
    lacking_PL = np.outer(room_P / examples, labels.sum(axis=0))
    part_N = np.full(examples, -1)

    def place(example: int, lacking_P: NDArray[np.float64]) -> None:
        # By what is lacking of the label, and of examples where that is equal; never past the size.
        ranked = [(room_P[p] > 0, round(lacking_P[p], 9), room_P[p]) for p in (0, 1)]
        part = int(ranked[1] > ranked[0])
        part_N[example] = part
        room_P[part] -= 1
        lacking_PL[part] -= labels[example]

    while (counts_L := labels[part_N < 0].sum(axis=0)).any():
        rarest = int(np.argmin(np.where(counts_L > 0, counts_L, examples + 1)))
        for example in order_N[(part_N[order_N] < 0) & (labels[order_N, rarest] > 0)]:
            place(example, lacking_PL[:, rarest])
    # The others have no label, and fill both parts.
    unplaced = order_N[part_N[order_N] < 0]
    part_N[unplaced[: room_P[0]]] = 0
    return np.flatnonzero(part_N == 0)
