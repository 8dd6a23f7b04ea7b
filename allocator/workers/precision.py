"""Choose the precision of frozen weights that is faster on a device."""

from __future__ import annotations

import time

import torch

from allocator.config import Precision

_TOKENS = 512  # rows of the product that is timed
_ROUNDS = 30
_GAIN = 1.2  # bfloat16 must be faster by this factor, so that noise cannot decide for it


def choose_precision(device: torch.device, width: int) -> Precision:
    """Choose the precision in which the product of a feed-forward layer is faster.

    Args:
        device: Device that the backbone will run on.
        width: Hidden width of the backbone.
    """
    seconds: dict[Precision, float] = {"float32": float("inf"), "bfloat16": float("inf")}
    # Alternate, and take the fastest of each: other work on the machine slows some products.
    for _ in range(_ROUNDS):
        for precision, fastest in seconds.items():
            seconds[precision] = min(fastest, _time_product(device, width, precision))
    return "bfloat16" if seconds["bfloat16"] * _GAIN < seconds["float32"] else "float32"


def _time_product(device: torch.device, width: int, precision: Precision) -> float:
    """Time one product, in seconds."""
    dtype: torch.dtype = getattr(torch, precision)
    x = torch.ones(_TOKENS, width, device=device, dtype=dtype)
    # The first product of a feed-forward layer, four times as wide as the hidden states.
    weight = torch.ones(4 * width, width, device=device, dtype=dtype)
    x[0, 0].item()  # host-device sync, so that only the product is timed
    start = time.perf_counter()
    torch.nn.functional.linear(x, weight)[0, 0].item()  # host-device sync
    return time.perf_counter() - start
