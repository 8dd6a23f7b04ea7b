"""Initial values of the parts of adapters, and how parts of different lengths are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import Mode
from allocator.config import Initialization


def make_part(
    shape: AdapterShape,
    mode: Mode,
    size: Sequence[int],
    how: Initialization | None,
    generator: torch.Generator | None,
) -> nn.Parameter:
    """Make one mode's part, for every tensor.

    Args:
        shape: The adapter shape.
        mode: The mode.
        size: Size of the part in one tensor: (dim, rank), or (left bond, dim, right bond). It is
            drawn as a matrix: the last axis is its columns, the others its rows. So an orthogonal
            core is left-orthogonal, as in the canonical form of a tensor train.
        how: As for `draw_factor`; None for zeros.
        generator: As for `draw_factor`.

    Returns:
        A parameter of shape (layers, targets, *size). If the mode's length differs between targets,
        their parts lie end to end: (layers, 1, ..., sum of lengths, last of size).
    """
    *left, dim, columns = size
    lengths = shape.list_target_lengths(mode) or (dim,)
    # If lengths differ, there is one for each target, and one tensor holds them all.
    copies = (shape.tensor.layer_copies, shape.tensor.target_copies // len(lengths))
    if how is None:
        return nn.Parameter(torch.zeros(*copies, *left, sum(lengths), columns))
    if generator is None:
        return nn.Parameter(torch.empty(*copies, *left, sum(lengths), columns))
    parts = []
    for length in lengths:
        drawn = draw_factor(copies, math.prod(left) * length, columns, how, generator)
        parts.append(drawn.data.view(*copies, *left, length, columns))
    return nn.Parameter(torch.cat(parts, dim=-2))


def spread_targets(part: Tensor, lengths: Sequence[int], axis: int = -2) -> Tensor:
    """Give every target an own part of the same length, with zeros behind those that are shorter.

    Zeros in a mode of the output add columns of zeros to B, which `Pairs` leaves out.

    Args:
        part: Shape (layers, 1, ...), with the targets' parts end to end along `axis`.
        lengths: The length of every target's part; empty if `part` has an axis of targets already.
        axis: The axis, counted from the last, which is -1.
    """
    if not lengths:
        return part
    behind = [0] * (2 * -axis)
    parts = []
    for own in part.squeeze(1).split(list(lengths), axis):
        behind[-1] = max(lengths) - own.shape[axis]
        parts.append(F.pad(own, behind))
    return torch.stack(parts, dim=1)


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
