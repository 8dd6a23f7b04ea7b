"""What a trained Tucker core uses of each mode's rank, from its singular values."""

from __future__ import annotations

import math

import pandas as pd
import tensorly as tl
import torch
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.tucker import TuckerAdapter

_SITE = ["layer", "target", "mode"]
_METRICS = ["entropy", "normalized_entropy", "effective_rank", "top1_energy", "stable_rank"]


def energies(singular_values: Tensor) -> Tensor:
    """Normalise energies: p_i = s_i^2 / sum_j s_j^2; of zeros alone, all in the first.

    Args:
        singular_values: Shape (n,), largest first, none negative.

    Returns:
        Shape (n,), of sum 1.
    """
    squared = singular_values.double() ** 2
    if not squared.any():
        squared = torch.nn.functional.one_hot(torch.tensor(0), len(squared)).double()
    return squared / squared.sum()


def spectrum_metrics(singular_values: Tensor) -> dict[str, float]:
    """Summarise a spectrum, with p_i the normalised energies.

    Args:
        singular_values: Shape (n,), largest first, none negative.

    Returns:
        `entropy`, H = -sum_i p_i ln p_i, between 0 and ln n; `normalized_entropy`, H / ln n, which
        compares modes of different size (1 where n is 1: nothing is unused); `effective_rank`,
        exp H, between 1 and n (Roy and Vetterli 2007, there on singular values, here on energies);
        `top1_energy`, p_1; `stable_rank`, sum_i s_i^2 / s_1^2 (Rudelson and Vershynin 2007).
    """
    shares = energies(singular_values)
    entropy = torch.special.entr(shares).sum().item()
    largest = math.log(len(shares))
    return {
        "entropy": entropy,
        "normalized_entropy": entropy / largest if largest else 1.0,
        "effective_rank": math.exp(entropy),
        "top1_energy": shares[0].item(),
        "stable_rank": 1 / shares[0].item(),
    }


def mode_spectra(adapter: Adapter) -> pd.DataFrame:
    """Tabulate the singular values of every unfolding of every core.

    Args:
        adapter: A trained adapter; all but Tucker adapters have an empty table.

    Returns:
        One row for each tensor, mode and singular value: columns `layer` and `target` (0 where
        tensors are shared), `mode`, `index`, `singular_value`.
    """
    rows = [
        (*site, index, value)
        for *site, values in _spectra(adapter)
        for index, value in enumerate(values.tolist())
    ]
    return pd.DataFrame(rows, columns=[*_SITE, "index", "singular_value"])


def mode_metrics(adapter: Adapter) -> pd.DataFrame:
    """Summarise the spectrum of every mode of every core.

    Args:
        adapter: A trained adapter; all but Tucker adapters have an empty table.

    Returns:
        One row for each tensor and mode: columns `layer`, `target`, `mode`, `rank` (singular
        values there are), and those of `spectrum_metrics`.
    """
    rows = [
        {**dict(zip(_SITE, site, strict=True)), "rank": len(values), **spectrum_metrics(values)}
        for *site, values in _spectra(adapter)
    ]
    return pd.DataFrame(rows, columns=[*_SITE, "rank", *_METRICS])


def _spectra(adapter: Adapter) -> list[tuple[int, int, str, Tensor]]:
    """Give layer, target, mode and singular values, largest first, of every unfolding."""
    if not isinstance(adapter, TuckerAdapter):
        return []
    cores = adapter.core.detach().double()
    with tl.backend_context("pytorch"):
        return [
            (layer, target, mode, torch.linalg.svdvals(tl.unfold(core, axis)))
            for layer, per_target in enumerate(cores)
            for target, core in enumerate(per_target)
            for axis, mode in enumerate(adapter.shape.tensor.dims)
        ]
