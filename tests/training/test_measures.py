"""Measures of a training against the same values computed by hand."""

from __future__ import annotations

import pytest
import torch

from allocator.adapters.build import build_adapter
from allocator.adapters.spectra import compute_mode_spectra
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.training.measures import Observer

RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}


def test_gradients_are_summarised_over_the_steps_since_they_were_last_asked_for(
    tiny_spec: AdapterSpec,
) -> None:
    adapter = build_adapter(tiny_spec, RANKS, seed=0)
    observer = Observer(adapter)
    for scale in (1.0, 3.0):
        for number, part in enumerate([adapter.zero_part, *adapter.factors.values()], start=1):
            part.grad = torch.full_like(part, scale * number)
        observer.observe()
    norms = observer.measure().gradients
    assert list(norms) == ["core", *RANKS]
    for number, part in enumerate([adapter.zero_part, *adapter.factors.values()], start=1):
        mean, largest = list(norms.values())[number - 1]
        root = part.numel() ** 0.5
        assert (mean, largest) == pytest.approx((2 * number * root, 3 * number * root))
    for part in adapter.parameters():
        part.grad = torch.zeros_like(part)
    observer.observe()
    assert set(observer.measure().gradients.values()) == {(0.0, 0.0)}


def test_spectra_are_those_of_the_adapter_as_it_stands(tiny_spec: AdapterSpec) -> None:
    adapter = build_adapter(tiny_spec, RANKS, seed=0)
    observer = Observer(adapter)
    with torch.no_grad():
        adapter.zero_part.normal_()
    assert observer.measure().spectra == tuple(compute_mode_spectra(adapter))
