"""What a trained Tucker core uses of each mode's rank, from its singular values."""

from __future__ import annotations

import math

import pandas as pd
import tensorly as tl
import torch
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.tucker import TuckerAdapter


def effective_rank(singular_values: Tensor) -> float:
    """Give exp of the entropy of normalised energies: between 1 and the number of values.

    With p_i = s_i^2 / sum_j s_j^2 it is exp(-sum_i p_i ln p_i) (Roy and Vetterli 2007, on
    energies), and 1 for a matrix of zeros.

    Args:
        singular_values: Shape (n,), none negative.
    """
    energies = singular_values.double() ** 2
    total = energies.sum()
    if total == 0:
        return 1.0
    shares = energies / total
    return math.exp(torch.special.entr(shares).sum().item())


def mode_spectra(adapter: Adapter) -> pd.DataFrame:
    """Tabulate the singular values of every unfolding of every core.

    Args:
        adapter: A trained adapter; all but Tucker adapters have an empty table.

    Returns:
        One row for each tensor, mode and singular value: columns `layer` and `target` (0 where
        tensors are shared), `mode`, `index`, `singular_value`, `effective_rank`.
    """
    rows: list[dict[str, int | float | str]] = []
    columns = ["layer", "target", "mode", "index", "singular_value", "effective_rank"]
    if not isinstance(adapter, TuckerAdapter):
        return pd.DataFrame(rows, columns=columns)
    with tl.backend_context("pytorch"):
        for layer, per_target in enumerate(adapter.core.detach().double()):
            for target, core in enumerate(per_target):
                for axis, mode in enumerate(adapter.shape.tensor.dims):
                    values = torch.linalg.svdvals(tl.unfold(core, axis))
                    effective = effective_rank(values)
                    rows += [
                        dict(zip(columns, (layer, target, mode, i, value, effective), strict=True))
                        for i, value in enumerate(values.tolist())
                    ]
    return pd.DataFrame(rows, columns=columns)
