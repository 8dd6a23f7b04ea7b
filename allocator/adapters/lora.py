"""Plain LoRA: one pair of matrices for every site."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.initialization import draw_factor, spread_targets
from allocator.allocation.adapter_shape import AdapterShape
from allocator.config import AdapterConfig


class MatrixAdapter(Adapter):
    """An adapter with A and B for every site; B starts at zero (Hu et al. 2021, arXiv 2106.09685).

    Args:
        shape: The adapter shape.
        ranks: The rank of every pair, under the name `rank`.
        config: Scaling, alpha / r in LoRA's terms, and the distribution of A.
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
        backbone, rank = shape.backbone, ranks["rank"]
        copies = (backbone.layers, len(backbone.targets))
        self.a = draw_factor(copies, backbone.d_in, rank, config.initialization, generator)
        # Targets of different widths lie side by side, so that none has more than its own.
        self._widths = shape.list_target_lengths("output")
        size = (1, rank, sum(self._widths)) if self._widths else (copies[1], rank, backbone.d_out)
        self.b = nn.Parameter(torch.zeros(backbone.layers, *size))

    @property
    def zero_part(self) -> nn.Parameter:
        """B of every site, shape (L, T, R, O), or (L, 1, R, sum of O) if O differs."""
        return self.b

    @property
    def factors(self) -> Mapping[str, nn.Parameter]:
        """A of every site, shape (L, T, I, R)."""
        return {"input": self.a}

    def compute_pairs(self) -> Pairs:
        """Return A and the scaled B of every site."""
        b_LTRO = spread_targets(self.b, self._widths, axis=-1)
        return self.make_pairs(self.a, b_LTRO * self.scaling)
