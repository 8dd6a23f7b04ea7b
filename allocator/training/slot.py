"""One trial's adapter and head, which answer on a backbone that many trials share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.saved import SavedAdapter
from allocator.backbone.backbone import Backbone
from allocator.backbone.head import Head


class Slot:
    """One trial's adapter and head, for answers; a `TrainingSlot` also trains.

    Args:
        adapter: The trial's adapter, on the backbone's device.
        head: The trial's head, on the backbone's device.
    """

    def __init__(self, adapter: Adapter, head: Head) -> None:
        self.adapter, self.head = adapter, head

    @classmethod
    def load(cls, saved: SavedAdapter, backbone: Backbone, *, seed: int) -> Slot:
        """Load a trained adapter and its head onto a backbone.

        Args:
            saved: The adapter, with the trained parameters of its head.
            backbone: The backbone that it was trained on.
            seed: Seed of the training, for parameters of the head that neither the checkpoint nor
                the saved adapter has.
        """
        head = backbone.head.copy_with_fresh_parameters(seed)
        head.load_trained_state_dict(saved.head)
        return cls(saved.adapter.to(backbone.device), head)

    def compute_pairs(self) -> Pairs:
        """Compute the low-rank updates of all sites."""
        return self.adapter.compute_pairs()

    def compute_logits(self, hidden: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute logits of shape (batch, labels); arguments as for `Head.forward`."""
        logits: Tensor = self.head(hidden, inputs)
        return logits
