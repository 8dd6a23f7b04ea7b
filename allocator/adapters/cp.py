"""CP adapters: one factor a mode, one column a rank-one term."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.initialization import factor
from allocator.allocation import AdapterShape
from allocator.config import Initialization

# Shapes: L layers and T targets (each 1 where tensors are shared), X layers and Y targets that
# have tensors of their own, R terms, K head size or output width, H heads. In einsum, axes of one
# letter broadcast where one of them is 1.


class CPAdapter(Adapter):
    """Updates stacked into sums of R rank-one tensors (TensorLy's `cp_to_tensor`, weights 1).

    The factor of the output side (`output`, or `head_dim`) starts at zero, as LoRA's B does.

    Args:
        shape: The adapter shape.
        ranks: The one `rank`.
        scaling: Factor of the whole update.
        initialization: Distribution of the factors that do not start at zero.
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
        tensor, rank = shape.tensor, ranks["rank"]
        copies = (tensor.layer_copies, tensor.target_copies)
        self._factors = nn.ParameterDict(
            {
                mode: nn.Parameter(torch.zeros(*copies, dim, rank))
                if mode == shape.zero_mode
                else factor(copies, dim, rank, initialization, generator)
                for mode, dim in tensor.dims.items()
            }
        )

    @property
    def zero_part(self) -> nn.Parameter:
        """Factor of the output side, shape (X, Y, dim, R)."""
        zero: nn.Parameter = self._factors[str(self.shape.zero_mode)]
        return zero

    @property
    def factors(self) -> Mapping[str, nn.Parameter]:
        """The other factors by mode, shape (X, Y, dim, R)."""
        return {mode: self._factors[mode] for mode in self.shape.factor_modes}

    def pairs(self) -> Pairs:
        """Compute the update of every site as a pair of matrices, A shared by all of a tensor."""
        f = self._factors
        weights_LTR = self._site_weights() * self.scaling
        if "output" in f:
            b_LTRO = torch.einsum("ltKr,ltr->ltrK", f["output"], weights_LTR)
        else:
            # Output row head * head_size + k belongs to head `head`: heads is the slower axis.
            b_LTRO = torch.einsum(
                "ltHr,ltKr,ltr->ltrHK", f["heads"], f["head_dim"], weights_LTR
            ).flatten(3)
        return Pairs(a_LTIR=f["input"], b_LTRO=b_LTRO)

    def _site_weights(self) -> Tensor:
        """Multiply the factors of the modes that stack sites, shape (L, T, R)."""
        f = self._factors
        weights: Tensor = self.zero_part.new_ones(1, 1, self.ranks["rank"])
        if "depth" in f:
            weights = torch.einsum("xylr,lyr->lyr", f["depth"], weights)
        if "qkv" in f:
            weights = torch.einsum("lytr,ltr->ltr", f["qkv"], weights)
        if "site" in f:
            weights = f["site"].view(-1, len(self.shape.backbone.targets), self.ranks["rank"])
        return weights
