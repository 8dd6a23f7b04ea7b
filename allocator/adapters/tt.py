"""Tensor-train adapters: one core a mode, joined by bonds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.initialization import factor
from allocator.allocation import AdapterShape
from allocator.config import Initialization

# Shapes: L layers and T targets (each 1 where tensors are shared), X layers and Y targets that
# have tensors of their own, I input width, K head size or output width, H heads, S sites; a, b, c
# bonds. In einsum, axes of one letter broadcast where one of them is 1.


class TTAdapter(Adapter):
    """Updates stacked into tensor trains (TensorLy's `tt_to_tensor`), modes in their order.

    The core of the output side (`output`, or `head_dim`) starts at zero.

    Args:
        shape: The adapter shape.
        ranks: The bonds, `bond_1` between the first two modes.
        scaling: Factor of the whole update.
        initialization: Distribution of the other cores, each drawn as a matrix of its left bond
            and mode by its right bond.
        generator: Source of the initial values.
    """

    def __init__(
        self,
        shape: AdapterShape,
        ranks: Mapping[str, int],
        *,
        scaling: float,
        initialization: Initialization,
        generator: torch.Generator,
    ) -> None:
        super().__init__(shape, ranks, scaling)
        tensor = shape.tensor
        copies = (tensor.layer_copies, tensor.target_copies)
        bonds = [1, *(ranks[name] for name in shape.rank_names), 1]
        self._cores = nn.ParameterDict()
        for (mode, dim), (left, right) in zip(tensor.dims.items(), pairwise(bonds), strict=True):
            if mode == shape.zero_mode:
                values = torch.zeros(*copies, left * dim, right)
            else:
                values = factor(copies, left * dim, right, initialization, generator).data
            self._cores[mode] = nn.Parameter(values.view(*copies, left, dim, right))

    @property
    def zero_part(self) -> nn.Parameter:
        """Core of the output side, shape (X, Y, left bond, dim, right bond)."""
        zero: nn.Parameter = self._cores[str(self.shape.zero_mode)]
        return zero

    @property
    def factors(self) -> Mapping[str, nn.Parameter]:
        """The other cores by mode, shape (X, Y, left bond, dim, right bond)."""
        return {mode: self._cores[mode] for mode in self.shape.factor_modes}

    def pairs(self) -> Pairs:
        """Compute the update of every site as a pair of matrices, A shared by all of a tensor."""
        cores = self._cores
        sites_LTc = self._site_vectors() * self.scaling
        if "output" in cores:
            b_LTRO = torch.einsum("ltaKc,ltc->ltaK", cores["output"], sites_LTc)
        else:
            heads_LTbH = torch.einsum("ltbHc,ltc->ltbH", cores["heads"], sites_LTc)
            # Output row head * head_size + k belongs to head `head`: heads is the slower axis.
            b_LTRO = torch.einsum("ltaKb,ltbH->ltaHK", cores["head_dim"], heads_LTbH).flatten(3)
        return Pairs(a_LTIR=cores["input"].squeeze(2), b_LTRO=b_LTRO)

    def _site_vectors(self) -> Tensor:
        """Contract the cores of the modes that stack sites, from the right: (L, T, bond)."""
        cores = self._cores
        vectors: Tensor = self.zero_part.new_ones(1, 1, 1)
        if "depth" in cores:
            vectors = torch.einsum("xyblc,xyc->lyb", cores["depth"], vectors)
        if "qkv" in cores:
            vectors = torch.einsum("lybtc,lyc->ltb", cores["qkv"], vectors)
        if "site" in cores:
            vectors_Sb = cores["site"][0, 0, :, :, 0].T
            vectors = vectors_Sb.reshape(-1, len(self.shape.backbone.targets), vectors_Sb.shape[1])
        return vectors
