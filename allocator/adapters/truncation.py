"""Truncate a trained Tucker adapter to a lower rank in one mode, without training."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import tensorly as tl
import torch
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.tucker import TuckerAdapter


def truncate_mode(adapter: TuckerAdapter, mode: str, rank: int) -> TuckerAdapter:
    """Approximate an adapter by one of a lower rank in one mode, by higher-order SVD.

    The update's unfolding along the mode is replaced by its best approximation of that rank (De
    Lathauwer, De Moor and Vandewalle 2000, section 4, for one mode). The leading left singular
    vectors of the update are those of its core only if all factors have orthonormal columns, and
    trained factors do not. So each factor is written as Q R, and the core is multiplied by every R.

    Args:
        adapter: A trained adapter.
        mode: A mode of its tensors.
        rank: Rank to keep, at least 1; the adapter's own rank leaves the update as it is.

    Returns:
        A copy whose core is projected; its parts keep their shapes.
    """
    axis = list(adapter.shape.tensor.dims).index(mode)  # type: ignore[arg-type]  # a mode by name
    cut = copy.deepcopy(adapter)
    with torch.no_grad(), tl.backend_context("pytorch"):
        for (core, factors), place in zip(
            _list_tensors(adapter), _list_places(adapter), strict=True
        ):
            triangles = [torch.linalg.qr(factor).R for factor in factors]
            whole = tl.tenalg.multi_mode_dot(core, triangles)
            # Projecting on the leading singular vectors keeps the core's shape.
            u = torch.linalg.svd(tl.unfold(whole, axis), full_matrices=False).U[:, :rank]
            kept = tl.tenalg.mode_dot(whole, u @ u.T, axis)
            # Convert back to the trained factors. If a factor has more columns than rows, its R is
            # not square, and the pseudo-inverse is a right inverse.
            inverses = [torch.linalg.pinv(triangle) for triangle in triangles]
            cut.core[place] = tl.tenalg.multi_mode_dot(kept, inverses).to(cut.core)
    return cut


def list_truncations(adapter: Adapter) -> Iterator[tuple[str, int]]:
    """List every mode of a Tucker adapter with the ranks that it can be truncated to, ascending.

    The ranks are 1, 2, 3, 4, 6, 8, 12, 16, ... and the mode's own, which truncates nothing.
    Adapters without a core have no such ranks.
    """
    if not isinstance(adapter, TuckerAdapter):
        return
    steps = sorted({1, *(2**n for n in range(1, 12)), *(3 * 2**n for n in range(10))})
    for mode, size in zip(adapter.shape.tensor.dims, adapter.core.shape[2:], strict=True):
        yield from ((mode, rank) for rank in [*(s for s in steps if s < size), size])


def _list_places(adapter: TuckerAdapter) -> Iterator[tuple[int, int]]:
    layers, targets = adapter.core.shape[:2]
    return ((layer, target) for layer in range(layers) for target in range(targets))


def _list_tensors(adapter: TuckerAdapter) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """List the core and the factors, in the order of modes, of every tensor in float64."""
    factors = [adapter.get_factor(mode).double() for mode in adapter.shape.tensor.dims]
    for layer, target in _list_places(adapter):
        own = [f[min(layer, f.shape[0] - 1), min(target, f.shape[1] - 1)] for f in factors]
        yield adapter.core[layer, target].double(), own
