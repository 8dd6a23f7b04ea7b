"""The base class of CP and tensor-train adapters: one trained part for each mode."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from allocator.adapters.adapter import Adapter
from allocator.adapters.initialization import make_part, spread_targets
from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import Mode
from allocator.config import AdapterConfig


class ModePartsAdapter(Adapter):
    """An adapter with one trained part for each mode; the part of `shape.zero_mode` starts at zero.

    Args:
        shape: The adapter shape.
        ranks: Rank by name.
        config: Scaling, and the distribution of the parts that do not start at zero.
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
        self.parts = nn.ParameterDict()
        for mode, size in self.compute_part_sizes().items():
            how = None if mode == shape.zero_mode else config.initialization
            self.parts[mode] = make_part(shape, mode, size, how, generator)

    @abstractmethod
    def compute_part_sizes(self) -> Mapping[Mode, tuple[int, ...]]:
        """Compute the size of every mode's part, without the axes of layers and targets."""

    def spread_parts(self) -> dict[str, Tensor]:
        """Return the parts by mode, each with the axes of layers and targets."""
        return {
            mode: spread_targets(self.parts[mode], self.shape.list_target_lengths(mode))
            for mode in self.shape.tensor.dims
        }

    @property
    def zero_part(self) -> nn.Parameter:
        """The part that starts at zero."""
        zero: nn.Parameter = self.parts[str(self.shape.zero_mode)]
        return zero

    @property
    def factors(self) -> Mapping[str, nn.Parameter]:
        """The parts that do not start at zero, by mode."""
        return {mode: self.parts[mode] for mode in self.shape.factor_modes}
