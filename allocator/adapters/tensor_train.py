"""Tensor-train adapters: one core for each mode, joined by bonds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from allocator.adapters.adapter import Pairs
from allocator.adapters.mode_parts import ModePartsAdapter
from allocator.allocation.constructions import Mode

# Shapes: L layers and T targets (each 1 if tensors are shared), X layers and Y targets that
# have their own tensors, I input width, K head size or output width, H heads, S sites; a, b, c
# bonds. In einsum, axes named by the same letter broadcast where one of them is 1.


class TTAdapter(ModePartsAdapter):
    """Updates stacked into tensor trains (TensorLy's `tt_to_tensor`).

    The train follows the canonical order of modes. Its parts are the cores, each of shape
    (X, Y, left bond, dim, right bond).
    """

    def compute_part_sizes(self) -> Mapping[Mode, tuple[int, ...]]:
        """Compute the size of every core, (left bond, dim, right bond)."""
        bonds = [1, *(self.ranks[name] for name in self.shape.rank_names), 1]
        dims = self.shape.tensor.dims.items()
        return {
            mode: (left, dim, right)
            for (mode, dim), (left, right) in zip(dims, pairwise(bonds), strict=True)
        }

    def compute_pairs(self) -> Pairs:
        """Compute the update of every site as a pair of matrices; sites of one tensor share A.

        An entry of the tensor is a product of matrices, one slice of each core (Oseledets 2011).
        The input mode comes first, so its core is A, and the bond on its right is the bottleneck.
        The modes that stack sites come last: each site has a vector on the bond after the output
        side, which turns the cores of the output side into B.
        """
        cores = self.spread_parts()
        sites_LTc = self._compute_site_vectors() * self.scaling
        if "output" in cores:
            b_LTRO = torch.einsum("ltaKc,ltc->ltaK", cores["output"], sites_LTc)
        else:
            heads_LTbH = torch.einsum("ltbHc,ltc->ltbH", cores["heads"], sites_LTc)
            # Output row head * head_size + k belongs to head `head`: heads is the slower axis.
            b_LTRO = torch.einsum("ltaKb,ltbH->ltaHK", cores["head_dim"], heads_LTbH).flatten(3)
        return self.make_pairs(cores["input"].squeeze(2), b_LTRO)

    def _compute_site_vectors(self) -> Tensor:
        """Contract the cores of the modes that stack sites, from the right.

        Returns:
            One vector for every site, shape (L, T, bond left of these cores); ones if no mode
            stacks sites.
        """
        cores = self.parts
        vectors: Tensor = self.zero_part.new_ones(1, 1, 1)
        if "depth" in cores:
            vectors = torch.einsum("xyblc,xyc->lyb", cores["depth"], vectors)
        if "qkv" in cores:
            vectors = torch.einsum("lybtc,lyc->ltb", cores["qkv"], vectors)
        if "site" in cores:
            # The last core has shape (1, 1, b, S, 1), with site `layer * targets + target` along S.
            vectors_Sb = cores["site"][0, 0, :, :, 0].T
            vectors = vectors_Sb.reshape(-1, len(self.shape.backbone.targets), vectors_Sb.shape[1])
        return vectors
