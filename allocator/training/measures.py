"""What a trial shows of itself while it trains: spectra of its core, norms of its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.spectra import ModeSpectrum, compute_mode_spectra


@dataclass(frozen=True, slots=True)
class TruncatedLoss:
    """The loss on the scoring split with one mode of an adapter cut down to a rank.

    Attributes:
        mode: The mode.
        rank: What it was cut to; at the mode's own rank nothing was.
        loss: The calibrated loss.
    """

    mode: str
    rank: int
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """Measures of one adapter at a boundary.

    Attributes:
        gradients: Mean and largest norm of the gradient of every part over the steps since the
            last boundary, before clipping; `core`, or the mode of a factor.
        spectra: Of every mode of every core as it stands; none of adapters without a core.
        truncation: What the trained adapter would lose at lower ranks, once it is completed.
    """

    gradients: Mapping[str, tuple[float, float]]
    spectra: tuple[ModeSpectrum, ...]
    truncation: tuple[TruncatedLoss, ...] = ()


class Observer:
    """Watches one adapter; nothing in a step waits for the device.

    Args:
        adapter: The adapter, on its device.

    Attributes:
        truncation: What the adapter loses at lower ranks, set when it is completed.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._parts = {adapter.shape.zero_mode or "core": adapter.zero_part, **adapter.factors}
        self._norms: list[Tensor] = []  # a tensor of shape (parts,) a step
        self.truncation: tuple[TruncatedLoss, ...] = ()

    def observe(self) -> None:
        """Take in the gradients of a step."""
        gradients = [part.grad for part in self._parts.values() if part.grad is not None]
        self._norms.append(torch.stack(torch._foreach_norm(gradients)))

    def measure(self) -> Measures:
        """Summarise the steps since this was last asked, and the adapter as it stands."""
        norms = torch.stack(self._norms or [self._adapter.zero_part.new_zeros(len(self._parts))])
        means, largest = norms.mean(0).tolist(), norms.amax(0).tolist()  # host-device sync
        self._norms = []
        return Measures(
            gradients=dict(zip(self._parts, zip(means, largest, strict=True), strict=True)),
            spectra=tuple(compute_mode_spectra(self._adapter)),
            truncation=self.truncation,
        )
