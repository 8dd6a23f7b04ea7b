"""What CP and tensor-train adapters share: one trained part a mode, one of which starts at zero."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

from allocator.adapters.adapter import Adapter
from allocator.adapters.initialization import draw_factor
from allocator.allocation import AdapterShape, Mode
from allocator.config import AdapterConfig


class ModePartsAdapter(Adapter):
    """An adapter with one part a mode, one of which starts at zero, `shape.zero_mode`'s.

    Args:
        shape: The adapter shape.
        ranks: Rank by name.
        config: Scaling, and the distribution of the parts that do not start at zero, each drawn
            as the matrix that its axes make with the last one as columns.
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
                length = torch.Size(rows).numel()
                drawn = draw_factor(copies, length, columns, config.initialization, generator)
                values = drawn.data.view(*copies, *rows, columns)
            self.parts[mode] = nn.Parameter(values)

    @abstractmethod
    def compute_part_sizes(self) -> Mapping[Mode, tuple[int, ...]]:
        """Give the size of every mode's part, without the axes of layers and targets."""

    @property
    def zero_part(self) -> nn.Parameter:
        """The part that starts at zero."""
        zero: nn.Parameter = self.parts[str(self.shape.zero_mode)]
        return zero

    @property
    def factors(self) -> Mapping[str, nn.Parameter]:
        """The other parts by mode."""
        return {mode: self.parts[mode] for mode in self.shape.factor_modes}
