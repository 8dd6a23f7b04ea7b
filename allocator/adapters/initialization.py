"""Initial values of the adapter parts that do not start at zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from allocator.config import Initialization


def draw_factor(
    copies: tuple[int, int],
    dim: int,
    rank: int,
    how: Initialization,
    generator: torch.Generator | None,
) -> nn.Parameter:
    """Draw the initial values of one mode's factor, for every tensor.

    Args:
        copies: Number of tensors along the layers and along the targets.
        dim: Length of the mode.
        rank: Number of columns of the factor.
        how: `orthogonal` columns (TensLoRA); `normal` with variance 1 / dim, so that columns have
            unit length on average; `kaiming_uniform` within 1 / sqrt(dim), as PEFT draws LoRA's A.
        generator: Source of randomness. It is on the CPU, so that an adapter starts with the same
            values on every device. None leaves the values undefined.

    Returns:
        A parameter of shape (*copies, dim, rank).
    """
    if generator is None:
        return nn.Parameter(torch.empty(*copies, dim, rank))
    # Each tensor is drawn separately, because factors are orthogonal within one tensor.
    return nn.Parameter(
        torch.stack(
            [
                torch.stack([_draw(dim, rank, how, generator) for _ in range(copies[1])])
                for _ in range(copies[0])
            ]
        )
    )


def _draw(dim: int, rank: int, how: Initialization, generator: torch.Generator) -> Tensor:
    values = torch.empty(dim, rank)
    if how == "orthogonal":
        return nn.init.orthogonal_(values, generator=generator)
    if how == "normal":
        return nn.init.normal_(values, std=1 / math.sqrt(dim), generator=generator)
    bound = 1 / math.sqrt(dim)
    return nn.init.uniform_(values, -bound, bound, generator=generator)
