"""Plain LoRA: one pair of matrices for every site."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.initialization import draw_factor
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
        self.b = nn.Parameter(torch.zeros(*copies, rank, backbone.d_out))

    @property
    def zero_part(self) -> nn.Parameter:
        """B of every site, shape (L, T, R, O)."""
        return self.b

    @property
    def factors(self) -> Mapping[str, nn.Parameter]:
        """A of every site, shape (L, T, I, R)."""
        return {"input": self.a}

    def compute_pairs(self) -> Pairs:
        """Return A and the scaled B of every site."""
        return Pairs(a_LTIR=self.a, b_LTRO=self.b * self.scaling)
