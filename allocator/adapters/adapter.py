"""The interface that all adapters share: parts that train, and a pair (A, B) for every site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from allocator.allocation.adapter_shape import AdapterShape
from allocator.config import AdapterConfig

# Shapes: L layers (or 1, if all share one matrix), T targets (or 1), I input width,
# R bottleneck rank, O output width


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """The low-rank updates of all sites: `delta_W = A @ B`, applied to inputs as `x @ A @ B`.

    Attributes:
        a_LTIR: Shape (L or 1, T or 1, I, R); an axis of 1 stands for a matrix that is shared.
        b_LTRO: Shape (L or 1, T or 1, R, O), the scaling included.
    """

    a_LTIR: Tensor
    b_LTRO: Tensor

    def select_site(self, layer: int, target: int) -> tuple[Tensor, Tensor]:
        """Return the pair of one site: A of shape (I, R) and B of shape (R, O)."""
        return _select_matrix(self.a_LTIR, layer, target), _select_matrix(
            self.b_LTRO, layer, target
        )

    def join_targets(self, targets: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Join the updates of targets that read the same input into one pair for each layer.

        With one pair, the updates of all these targets take two products, not two for each target.

        Args:
            targets: Indices of the targets, in the order of their outputs.

        Returns:
            A of shape (L or 1, I, R) and B of shape (L or 1, R, sum of O). If the targets share
            A, R is their common bottleneck; otherwise R is the sum of their bottlenecks.
        """
        b_LTRO = _select_targets(self.b_LTRO, targets)
        if self.a_LTIR.shape[1] == 1:
            b_LTRO = b_LTRO.expand(-1, len(targets), -1, -1)
            return self.a_LTIR[:, 0], b_LTRO.transpose(1, 2).flatten(2)
        a_LTIR = _select_targets(self.a_LTIR, targets)
        # Each target reads its own bottleneck, so B is block-diagonal with one block for each
        # target. U is a second axis of targets, for the outputs.
        own_TU = torch.eye(len(targets), dtype=b_LTRO.dtype, device=b_LTRO.device)
        diagonal_LTRUO = b_LTRO.unsqueeze(3) * own_TU[:, None, :, None]
        return a_LTIR.transpose(1, 2).flatten(2), diagonal_LTRUO.flatten(1, 2).flatten(2)


def _select_targets(matrices: Tensor, targets: Sequence[int]) -> Tensor:
    """Select targets of (L, T or 1, ...), in the order of `targets`."""
    is_all = list(targets) == list(range(matrices.shape[1]))
    return matrices if is_all or matrices.shape[1] == 1 else matrices[:, list(targets)]


def _select_matrix(matrices: Tensor, layer: int, target: int) -> Tensor:
    # An axis of length 1 is shared, so that any layer or target has index 0.
    return matrices[min(layer, matrices.shape[0] - 1), min(target, matrices.shape[1] - 1)]


class Adapter(nn.Module, ABC):
    """A factorized update of all sites of a backbone, zero before training.

    Args:
        shape: The adapter shape.
        ranks: Rank by name, as in `shape.rank_names`.
        config: Factor by which the whole update is multiplied, and distribution of initial values.
    """

    def __init__(
        self, shape: AdapterShape, ranks: Mapping[str, int], config: AdapterConfig
    ) -> None:
        super().__init__()
        shape.check_ranks(ranks)
        self.shape, self.ranks, self.scaling = shape, dict(ranks), config.scaling

    @abstractmethod
    def compute_pairs(self) -> Pairs:
        """Compute the update of every site as a pair of matrices."""

    @property
    @abstractmethod
    def zero_part(self) -> nn.Parameter:
        """The part that starts at zero; its learning rate is multiplied by `core_lr_multiplier`."""

    @property
    @abstractmethod
    def factors(self) -> Mapping[str, nn.Parameter]:
        """The other trained parts by mode; `lr_multiplier_<mode>` scales their learning rates."""

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters as built."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
