"""Tucker adapters: a core that starts at zero, and one factor for each mode."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.initialization import make_part, spread_targets
from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import Mode
from allocator.config import AdapterConfig

# Shapes: L layers and T targets (each 1 if tensors are shared), X layers and Y targets that
# have their own tensors, I input width, O output width, H heads, K head size; i, o, h, k, q, d,
# s the ranks of input, output, heads, head_dim, qkv, depth, site. In einsum, axes named by the same
# letter broadcast where one of them is 1.


class TuckerAdapter(Adapter):
    """Updates stacked into tensors `core x_1 U_1 ... x_n U_n` (TensorLy's `tucker_to_tensor`).

    Args:
        shape: The adapter shape; its full modes have identity factors, which do not train.
        ranks: Rank by mode.
        config: Scaling, and the distribution of the factors.
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
        sizes = [tensor.dims[m] if m in shape.full_modes else ranks[m] for m in tensor.dims]
        self.core = nn.Parameter(torch.zeros(*copies, *sizes))
        self._factors = nn.ParameterDict(
            {
                mode: make_part(shape, mode, (dim, ranks[mode]), config.initialization, generator)
                for mode, dim in tensor.dims.items()
                if mode not in shape.full_modes
            }
        )
        self._identities = {mode: tensor.dims[mode] for mode in shape.full_modes}

    @property
    def zero_part(self) -> nn.Parameter:
        """The core."""
        return self.core

    @property
    def factors(self) -> Mapping[str, nn.Parameter]:
        """Factor of every mode that is not full, shape (X, Y, dim, rank).

        If its length differs between targets, it is that of all: (X, 1, sum of lengths, rank).
        """
        return {mode: self._factors[mode] for mode in self.shape.factor_modes}

    def get_factor(self, mode: Mode) -> Tensor:
        """Return the factor of a mode, the identity if it is full, shape (X, Y, dim, rank)."""
        if mode in self._identities:
            dim = self._identities[mode]
            return torch.eye(dim, device=self.core.device, dtype=self.core.dtype)[None, None]
        return spread_targets(self._factors[mode], self.shape.list_target_lengths(mode))

    def compute_pairs(self) -> Pairs:
        """Compute the update of every site as a pair of matrices.

        The bottleneck is the smaller of the input rank and the rank of the output side. The matrix
        on that side is shared by all sites of a tensor.
        """
        slices = self._compute_site_cores() * self.scaling  # (L, T, i, h or o, k or 1)
        u_in = self.get_factor("input")  # (X, Y, I, i)
        rank_in, rank_out = slices.shape[2], slices.shape[3] * slices.shape[4]
        # `U_in @ core @ U_out` is split on the side of the core that has the smaller rank: A is
        # either `U_in` or `U_in @ core`.
        if rank_in <= rank_out:
            return self.make_pairs(u_in, self._expand_output(slices))
        # B is `U_out` alone: the output side applied to an identity, whose rows are in the order in
        # which `slices.flatten(3)` puts the columns of A.
        identity = torch.eye(rank_out, dtype=slices.dtype, device=slices.device)
        b = self._expand_output(identity.view(1, 1, rank_out, *slices.shape[3:]))
        return self.make_pairs(u_in @ slices.flatten(3), b)

    def _compute_site_cores(self) -> Tensor:
        """Multiply the core by the factors of the modes that stack sites.

        Returns:
            A core for every site, shape (L, T, i, h or o, k or 1).
        """
        modes = list(self.shape.tensor.dims)
        # (X, Y, i, h, k, ...): heads before head_dim, as the outputs of a projection lie. Without
        # heads (X, Y, i, o, 1, ...), so that the steps below serve both.
        core = self.core.transpose(3, 4) if "heads" in modes else self.core.unsqueeze(4)
        if "depth" in modes:
            core = torch.einsum("xyihk...d,xyld->lyihk...", core, self.get_factor("depth"))
        if "qkv" in modes:
            core = torch.einsum("lyihkq,lytq->ltihk", core, self.get_factor("qkv"))
        if "site" in modes:
            # The tensor is one (x and y are 1); site `layer * targets + target` is row n.
            sites = torch.einsum("xyihks,xyns->nihk", core, self.get_factor("site"))
            core = sites.reshape(-1, len(self.shape.backbone.targets), *sites.shape[1:])
        return core

    def _expand_output(self, slices: Tensor) -> Tensor:
        """Multiply (L, T, R, h or o, k or 1) by the output side's factors: (L, T, R, O)."""
        if "output" in self.shape.tensor.dims:
            return slices.squeeze(4) @ self.get_factor("output").transpose(2, 3)
        # Output row head * head_size + k belongs to head `head`: heads is the slower axis.
        wide = torch.einsum("ltrhk,ltKk->ltrhK", slices, self.get_factor("head_dim"))
        return torch.einsum("ltrhK,ltHh->ltrHK", wide, self.get_factor("heads")).flatten(3)
