"""Forward hooks that add an adapter's updates to the outputs of a model's projections."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from allocator.adapters.adapter import Adapter, Pairs, place_columns
from allocator.allocation.fused_layers import OutputSlice

# Shapes: I input width, R bottleneck rank, O output width


class SiteUpdates:
    """The updates of all sites, computed once for each forward pass.

    Args:
        adapter: The adapter that computes them.
        dropout: Fraction of a site's inputs that is dropped before its update, while the model
            trains.
    """

    def __init__(self, adapter: Adapter, dropout: float) -> None:
        self.adapter, self.dropout = adapter, dropout
        self.pairs: Pairs | None = None

    def refresh(self, *_: object) -> None:
        """Compute the updates again; a forward pre-hook of the backbone.

        The updates are kept until the next forward pass, because a backward pass that recomputes
        layers (gradient checkpointing) needs them again.
        """
        self.pairs = self.adapter.compute_pairs()

    def __getstate__(self) -> dict[str, object]:
        """Leave out the pairs: a deep copy of a model cannot hold tensors of an autograd graph."""
        return {**self.__dict__, "pairs": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteUpdate:
    """A forward hook that adds one site's update to the output of its linear layer.

    Attributes:
        updates: The updates of all sites.
        layer: Number of the site's layer.
        target: Index of the site's target.
        place: Where the site's outputs lie among those of the linear layer.
    """

    updates: SiteUpdates
    layer: int
    target: int
    place: OutputSlice

    def __call__(self, projection: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """Compute `x W^T + b + (x A) B`, whose first two terms are `output`."""
        assert self.updates.pairs is not None  # set when the backbone's forward pass began
        a_IR, b_RO = self.updates.pairs.select_site(self.layer, self.target)
        x = F.dropout(inputs[0], self.updates.dropout, projection.training)
        # From left to right, so that no d x d matrix is built. The adapter is in float32, x in the
        # precision of the model.
        return output + x @ a_IR.to(x) @ place_columns(b_RO.to(x), self.place)
