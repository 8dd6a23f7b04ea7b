"""The base class of CP and tensor-train adapters: one trained part for each mode."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

from allocator.adapters.adapter import Adapter
from allocator.adapters.initialization import draw_factor
from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import Mode
from allocator.config import AdapterConfig


class ModePartsAdapter(Adapter):
    """An adapter with one trained part for each mode; the part of `shape.zero_mode` starts at zero.

    Args:
        shape: The adapter shape.
        ranks: Rank by name.
        config: Scaling, and the distribution of the parts that do not start at zero. A part of more
            than two axes is drawn as a matrix: the last axis is its columns, the others its rows.
        generator: Source of the initial values; None leaves them undefined.
    """

    def __init__(
        self,
        shape: AdapterShape,
        ranks: Mapping[str, int],
        config: AdapterConfig,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__(shape, ranks, config)
        tensor = shape.tensor
        copies = (tensor.layer_copies, tensor.target_copies)
        self.parts = nn.ParameterDict()
        for mode, (*rows, columns) in self.compute_part_sizes().items():
            if mode == shape.zero_mode:
                values = torch.zeros(*copies, *rows, columns)
            else:
                # A core (left bond, dim, right bond) is drawn as its unfolding: an orthogonal one
                # is left-orthogonal, as in the canonical form of a tensor train.
                length = torch.Size(rows).numel()
                drawn = draw_factor(copies, length, columns, config.initialization, generator)
                values = drawn.data.view(*copies, *rows, columns)
            self.parts[mode] = nn.Parameter(values)

    @abstractmethod
    def compute_part_sizes(self) -> Mapping[Mode, tuple[int, ...]]:
        """Compute the size of every mode's part, without the axes of layers and targets."""

    @property
    def zero_part(self) -> nn.Parameter:
        """The part that starts at zero."""
        zero: nn.Parameter = self.parts[str(self.shape.zero_mode)]
        return zero

    @property
    def factors(self) -> Mapping[str, nn.Parameter]:
        """The parts that do not start at zero, by mode."""
        return {mode: self.parts[mode] for mode in self.shape.factor_modes}
