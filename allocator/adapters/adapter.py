"""The one interface of all adapters: parts that train, and a pair (A, B) for every site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from allocator.allocation import AdapterShape

# Shapes: L layers (or 1, where all share one matrix), T targets (or 1), I input width,
# R bottleneck rank, O output width


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Low-rank updates of all sites: `delta_W = A @ B`, applied to inputs as `x @ A @ B`.

    Attributes:
        a_LTIR: Shape (L or 1, T or 1, I, R); an axis of 1 stands for a matrix that is shared.
        b_LTRO: Shape (L or 1, T or 1, R, O), the scaling included.
    """

    a_LTIR: Tensor
    b_LTRO: Tensor

    def site(self, layer: int, target: int) -> tuple[Tensor, Tensor]:
        """Give A of shape (I, R) and B of shape (R, O) of one site."""
        return _at(self.a_LTIR, layer, target), _at(self.b_LTRO, layer, target)

    def side_by_side(self, layer: int, targets: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Join the updates of one layer's targets to one pair, their outputs side by side.

        Args:
            layer: The layer.
            targets: Indices of the targets, in the order of the outputs.

        Returns:
            A of shape (I, R), once where the targets share it, and B of shape (R, sum of O).
        """
        b = [_at(self.b_LTRO, layer, target) for target in targets]
        if self.a_LTIR.shape[1] == 1:
            return _at(self.a_LTIR, layer, 0), torch.cat(b, dim=1)
        a = [_at(self.a_LTIR, layer, target) for target in targets]
        return torch.cat(a, dim=1), torch.block_diag(*b)


def _at(matrices: Tensor, layer: int, target: int) -> Tensor:
    return matrices[min(layer, matrices.shape[0] - 1), min(target, matrices.shape[1] - 1)]


class Adapter(nn.Module, ABC):
    """A factorized update of all sites of a backbone, zero when fresh.

    Args:
        shape: The adapter shape.
        ranks: Rank by name, as in `shape.rank_names`.
        scaling: Factor of the whole update.
    """

    def __init__(self, shape: AdapterShape, ranks: Mapping[str, int], scaling: float) -> None:
        super().__init__()
        shape.check(ranks)
        self.shape, self.ranks, self.scaling = shape, dict(ranks), scaling

    @abstractmethod
    def pairs(self) -> Pairs:
        """Compute the update of every site as a pair of matrices."""

    @property
    @abstractmethod
    def zero_part(self) -> nn.Parameter:
        """The part that starts at zero, which `core_lr_multiplier` speaks of."""

    @property
    @abstractmethod
    def factors(self) -> Mapping[str, nn.Parameter]:
        """The other trained parts by mode, which `lr_multiplier_<mode>` speaks of."""

    @property
    def num_parameters(self) -> int:
        """Trainable parameters as built."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
