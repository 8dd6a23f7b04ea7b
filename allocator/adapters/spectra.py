"""Measure how much of each mode's rank a trained Tucker core uses, by its singular values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import tensorly as tl
import torch
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.tucker import TuckerAdapter

_SITE = ["layer", "target", "mode"]
_METRICS = ["entropy", "normalized_entropy", "effective_rank", "top1_energy", "stable_rank"]


def compute_energies(singular_values: Tensor) -> Tensor:
    """Normalise the energies of a spectrum: p_i = s_i^2 / sum_j s_j^2.

    A spectrum of zeros, as of a core before training, has all of its energy in the first value.

    Args:
        singular_values: Shape (n,), largest first, none negative.

    Returns:
        Shape (n,); they add up to 1.
    """
    squared = singular_values.double() ** 2
    if not squared.any():
        squared = torch.nn.functional.one_hot(torch.tensor(0), len(squared)).double()
    return squared / squared.sum()


def compute_spectrum_metrics(singular_values: Tensor) -> dict[str, float]:
    """Compute the numbers that summarise a spectrum, from its normalised energies p_i.

    Args:
        singular_values: Shape (n,), largest first, none negative.

    Returns:
        `entropy`, H = -sum_i p_i ln p_i, between 0 and ln n; `normalized_entropy`, H / ln n, which
        can be compared between modes of different lengths (1 if n is 1, as nothing is unused);
        `effective_rank`, exp H, between 1 and n (Roy and Vetterli 2007, who normalise singular
        values, not energies);
        `top1_energy`, p_1; `stable_rank`, sum_i s_i^2 / s_1^2 (Rudelson and Vershynin 2007).
    """
    shares = compute_energies(singular_values)
    entropy = torch.special.entr(shares).sum().item()
    largest = math.log(len(shares))
    return {
        "entropy": entropy,
        "normalized_entropy": entropy / largest if largest else 1.0,
        "effective_rank": math.exp(entropy),
        "top1_energy": shares[0].item(),
        "stable_rank": 1 / shares[0].item(),
    }


@dataclass(frozen=True, slots=True)
class ModeSpectrum:
    """The singular values of one unfolding of one core.

    Attributes:
        layer: Layer of the tensor; 0 if layers share one.
        target: Index of the tensor's target; 0 if targets share one.
        mode: The mode that is unfolded.
        singular_values: The singular values, largest first.
    """

    layer: int
    target: int
    mode: str
    singular_values: tuple[float, ...]


def compute_mode_spectra(adapter: Adapter) -> list[ModeSpectrum]:
    """Compute the spectrum of every mode of every core (TensorLy's `unfold`).

    Args:
        adapter: Any adapter.

    Returns:
        One spectrum for each tensor and mode of a Tucker adapter; none for other adapters.
    """
    if not isinstance(adapter, TuckerAdapter):
        return []
    cores = adapter.core.detach().double().cpu()  # host-device sync
    with tl.backend_context("pytorch"):
        return [
            ModeSpectrum(
                layer, target, mode, tuple(torch.linalg.svdvals(tl.unfold(core, axis)).tolist())
            )
            for layer, per_target in enumerate(cores)
            for target, core in enumerate(per_target)
            for axis, mode in enumerate(adapter.shape.tensor.dims)
        ]


def tabulate_spectra(spectra: Iterable[ModeSpectrum]) -> pd.DataFrame:
    """Tabulate the singular values of spectra.

    Returns:
        One row for each tensor, mode and singular value: columns `layer`, `target`, `mode`,
        `index`, `singular_value`.
    """
    rows = [
        (s.layer, s.target, s.mode, index, value)
        for s in spectra
        for index, value in enumerate(s.singular_values)
    ]
    return pd.DataFrame(rows, columns=[*_SITE, "index", "singular_value"])


def tabulate_spectrum_metrics(spectra: Iterable[ModeSpectrum]) -> pd.DataFrame:
    """Tabulate the numbers that summarise spectra.

    Returns:
        One row for each tensor and mode: columns `layer`, `target`, `mode`, `rank` (number of
        singular values), and those of `compute_spectrum_metrics`.
    """
    rows = [
        {
            **dict(zip(_SITE, (s.layer, s.target, s.mode), strict=True)),
            "rank": len(s.singular_values),
            **compute_spectrum_metrics(torch.tensor(s.singular_values, dtype=torch.float64)),
        }
        for s in spectra
    ]
    return pd.DataFrame(rows, columns=[*_SITE, "rank", *_METRICS])
