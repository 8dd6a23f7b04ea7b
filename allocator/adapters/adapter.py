"""The interface that all adapters share: parts that train, and a pair (A, B) for every site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.fused_layers import OutputSlice, place_side_by_side
from allocator.config import AdapterConfig

# Shapes: L layers (or 1, if all share one matrix), T targets (or 1), I input width,
# R bottleneck rank, O output width


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """The low-rank updates of all sites: `delta_W = A @ B`, applied to inputs as `x @ A @ B`.

    Attributes:
        a_LTIR: Shape (L or 1, T or 1, I, R); an axis of 1 stands for a matrix that is shared.
        b_LTRO: Shape (L or 1, T or 1, R, O), the scaling included.
        widths: Output width of every target, in whose B the columns beyond are zeros; empty if
            all are O wide.
    """

    a_LTIR: Tensor
    b_LTRO: Tensor
    widths: Sequence[int] = ()

    def select_site(self, layer: int, target: int) -> tuple[Tensor, Tensor]:
        """Return the pair of one site: A of shape (I, R) and B of shape (R, O)."""
        b_RO = _select_matrix(self.b_LTRO, layer, target)
        return _select_matrix(self.a_LTIR, layer, target), b_RO[:, : self._find_width(target)]

    def join_targets(
        self, targets: Sequence[int], places: Sequence[OutputSlice] = ()
    ) -> tuple[Tensor, Tensor]:
        """Join the updates of targets that read the same input into one pair for each layer.

        With one pair, the updates of all these targets take two products, not two for each target.

        Args:
            targets: Indices of the targets.
            places: Where the outputs of each of them lie among those that are computed together;
                empty if one after the other, which is faster.

        Returns:
            A of shape (L or 1, I, R) and B of shape (L or 1, R, all outputs). If the targets share
            A, R is their common bottleneck; otherwise R is the sum of their bottlenecks.
        """
        is_shared = self.a_LTIR.shape[1] == 1
        own_LTIR = _select_targets(self.a_LTIR, targets)
        a_LIR = own_LTIR[:, 0] if is_shared else own_LTIR.transpose(1, 2).flatten(2)
        if places or self.widths:
            return a_LIR, self._place_targets(targets, places, is_shared=is_shared)
        b_LTRO = _select_targets(self.b_LTRO, targets)
        if is_shared:
            return a_LIR, b_LTRO.expand(-1, len(targets), -1, -1).transpose(1, 2).flatten(2)
        # Each target reads its own bottleneck, so B is block-diagonal with one block for each
        # target. U is a second axis of targets, for the outputs.
        own_TU = torch.eye(len(targets), dtype=b_LTRO.dtype, device=b_LTRO.device)
        diagonal_LTRUO = b_LTRO.unsqueeze(3) * own_TU[:, None, :, None]
        return a_LIR, diagonal_LTRUO.flatten(1, 2).flatten(2)

    def _place_targets(
        self, targets: Sequence[int], places: Sequence[OutputSlice], *, is_shared: bool
    ) -> Tensor:
        """Join B of targets one by one; arguments and result as for `join_targets`."""
        places = places or place_side_by_side(map(self._find_width, targets))
        last = self.b_LTRO.shape[1] - 1  # 0 if all targets share B
        b_LROs = [
            place_columns(self.b_LTRO[:, min(target, last), :, : self._find_width(target)], place)
            for target, place in zip(targets, places, strict=True)
        ]
        # Each target has zeros where the others have their outputs.
        return reduce(torch.add, b_LROs) if is_shared else torch.cat(b_LROs, dim=1)

    def _find_width(self, target: int) -> int:
        return self.widths[target] if self.widths else self.b_LTRO.shape[-1]


def place_columns(b: Tensor, place: OutputSlice) -> Tensor:
    """Place the columns of B among the outputs of all that is computed with it.

    Args:
        b: Shape (..., R, O).
        place: Where the O outputs lie.

    Returns:
        Shape (..., R, all outputs), with zeros for the outputs of others.
    """
    if place.start > 0 or place.stop < place.size:
        slices = b.unflatten(-1, (place.groups, -1))
        b = F.pad(slices, (place.start, place.size - place.stop)).flatten(-2)
    return F.pad(b, (place.before, place.after)) if place.before or place.after else b


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

    def make_pairs(self, a_LTIR: Tensor, b_LTRO: Tensor) -> Pairs:
        """Join the matrices of all sites, whose B is as wide as that of the widest target."""
        return Pairs(a_LTIR=a_LTIR, b_LTRO=b_LTRO, widths=self.shape.list_target_lengths("output"))

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
