"""CP adapters: a sum of rank-one tensors, with one factor for each mode."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from allocator.adapters.adapter import Pairs
from allocator.adapters.mode_parts import ModePartsAdapter
from allocator.allocation.constructions import Mode

# Shapes: L layers and T targets (each 1 if tensors are shared), X layers and Y targets that
# have their own tensors, I input width, R rank-one terms, K head size or output width, H heads,
# O output width. In einsum, axes named by the same letter broadcast where one of them is 1.


class CPAdapter(ModePartsAdapter):
    """Updates stacked into sums of R rank-one tensors (TensorLy's `cp_to_tensor`, weights 1).

    Its parts are the factors, each of shape (X, Y, dim, R).
    """

    def compute_part_sizes(self) -> Mapping[Mode, tuple[int, ...]]:
        """Compute the size of every factor, (dim, R)."""
        return {mode: (dim, self.ranks["rank"]) for mode, dim in self.shape.tensor.dims.items()}

    def compute_pairs(self) -> Pairs:
        """Compute the update of every site as a pair of matrices; sites of one tensor share A.

        The entry (i, k, h) of site s in a tensor is
        `sum_r input[i, r] * head_dim[k, r] * heads[h, r] * w[s, r]` (Kolda and Bader 2009,
        section 3), where w multiplies the rows of the factors that stack sites. So A is the
        input factor, and w scales the rows of B.
        """
        f = self.spread_parts()
        weights_LTR = self._compute_site_weights() * self.scaling
        if "output" in f:
            b_LTRO = torch.einsum("ltKr,ltr->ltrK", f["output"], weights_LTR)
        else:
            # Output row head * head_size + k belongs to head `head`: heads is the slower axis.
            b_LTRO = torch.einsum(
                "ltHr,ltKr,ltr->ltrHK", f["heads"], f["head_dim"], weights_LTR
            ).flatten(3)
        return self.make_pairs(f["input"], b_LTRO)

    def _compute_site_weights(self) -> Tensor:
        """Multiply the rows of the factors that stack sites, to weights of terms, (L, T, R)."""
        f = self.parts
        weights: Tensor = self.zero_part.new_ones(1, 1, self.ranks["rank"])
        if "depth" in f:
            weights = torch.einsum("xylr,lyr->lyr", f["depth"], weights)
        if "qkv" in f:
            weights = torch.einsum("lytr,ltr->ltr", f["qkv"], weights)
        if "site" in f:  # the only such mode; its rows are sites `layer * targets + target`
            weights = f["site"].view(-1, len(self.shape.backbone.targets), self.ranks["rank"])
        return weights
