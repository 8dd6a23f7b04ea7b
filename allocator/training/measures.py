"""Measures of an adapter while it trains: spectra of its core and norms of its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.spectra import ModeSpectrum, compute_mode_spectra


@dataclass(frozen=True, slots=True)
class TruncatedLoss:
    """The calibrated loss on the scoring split with one mode of an adapter truncated.

    Attributes:
        mode: The mode that was truncated.
        rank: The rank that it was truncated to; its own rank means no truncation.
        loss: The calibrated loss.
    """

    mode: str
    rank: int
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """Measures of one adapter at a boundary.

    Attributes:
        gradients: For every part of the adapter, `core` or the mode of a factor, the mean and the
            largest norm of its gradient before clipping, over the steps since the last boundary.
        spectra: Spectrum of every mode of every core; empty for an adapter without a core.
        truncation: Losses of the trained adapter at lower ranks; empty until it is completed.
    """

    gradients: Mapping[str, tuple[float, float]]
    spectra: tuple[ModeSpectrum, ...]
    truncation: tuple[TruncatedLoss, ...] = ()


class Observer:
    """An observer that measures one adapter as it trains, without waiting for the device in a step.

    Args:
        adapter: The adapter, on its device.

    Attributes:
        truncation: As in `Measures`; set by the training loop when the training is completed.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        # The part that starts at zero is the core, or the factor of the zero mode.
        self._parts = {adapter.shape.zero_mode or "core": adapter.zero_part, **adapter.factors}
        self._norms: list[Tensor] = []  # one tensor of shape (parts,) for each step
        self.truncation: tuple[TruncatedLoss, ...] = ()

    def observe(self) -> None:
        """Record the norms of the gradients of a step."""
        gradients = [part.grad for part in self._parts.values() if part.grad is not None]
        # All norms at once (a private function of torch); they stay on the device.
        self._norms.append(torch.stack(torch._foreach_norm(gradients)))

    def measure(self) -> Measures:
        """Summarise the steps since the last call, and the adapter in its present state."""
        # Without an observed step, the norms are zero.
        norms = torch.stack(self._norms or [self._adapter.zero_part.new_zeros(len(self._parts))])
        means, largest = norms.mean(0).tolist(), norms.amax(0).tolist()  # host-device sync
        self._norms = []
        return Measures(
            gradients=dict(zip(self._parts, zip(means, largest, strict=True), strict=True)),
            spectra=tuple(compute_mode_spectra(self._adapter)),
            truncation=self.truncation,
        )
