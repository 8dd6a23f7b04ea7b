"""Chooses the precision of frozen weights by what is faster on the device."""

from __future__ import annotations

import time

import torch

from allocator.config import Precision

_TOKENS, _PAIRS, _GAIN = 512, 30, 1.2


def choose_precision(device: torch.device, width: int) -> Precision:
    """Time the product of one feed-forward layer in both precisions, in turn, and take the faster.

    bfloat16 must be at least a fifth faster, so that noise cannot choose it.

    Args:
        device: Where the backbone will run.
        width: The backbone's hidden width.
    """
    seconds: dict[Precision, float] = {"float32": float("inf"), "bfloat16": float("inf")}
    for _ in range(_PAIRS):
        for precision, fastest in seconds.items():
            seconds[precision] = min(fastest, _one_product(device, width, precision))
    return "bfloat16" if seconds["bfloat16"] * _GAIN < seconds["float32"] else "float32"


def _one_product(device: torch.device, width: int, precision: Precision) -> float:
    dtype: torch.dtype = getattr(torch, precision)
    x = torch.ones(_TOKENS, width, device=device, dtype=dtype)
    weight = torch.ones(4 * width, width, device=device, dtype=dtype)
    x[0, 0].item()  # waits for the device
    start = time.perf_counter()
    torch.nn.functional.linear(x, weight)[0, 0].item()  # waits for the device
    return time.perf_counter() - start
