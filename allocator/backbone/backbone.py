"""The frozen transformer that all trials of a worker share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, PreTrainedModel

from allocator.backbone.attention import FUSED_ATTENTION, SHORT_ATTENTION
from allocator.backbone.frozen_linear import freeze_linear_layers
from allocator.backbone.head import Head, split_off_head
from allocator.backbone.packed_sites import PackedSites, adapt_projections
from allocator.backbone.unread_tokens import skip_unread_tokens
from allocator.config import Precision
from allocator.models.classifier import load_classifier
from allocator.models.model_config import read_config, reads_images
from allocator.models.model_source import ModelSource
from allocator.models.projections import find_projections


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """A frozen backbone with adapted projections, and the head it came with.

    Attributes:
        model: The backbone, in the precision chosen, its dropout off.
        head: The head as loaded; every trial takes a fresh copy.
        sites: The adapted projections.
        copies: Hands every slot its copy of a batch.
        device: Where the backbone is.
        packs: Whether trials may train on it together.
    """

    model: PreTrainedModel
    head: Head
    sites: PackedSites
    copies: Copies
    device: torch.device
    packs: bool = True

    def __call__(self, inputs: Mapping[str, Tensor], slots: int = 1) -> Tensor:
        """Compute hidden states under the updates in use.

        Args:
            inputs: Keyword arguments of the model, each of shape (batch, ...).
            slots: Slots whose updates are in use; each gets these inputs.

        Returns:
            Shape (slots * batch, tokens that the head reads, width), slot after slot.
        """
        hidden = self.model(**self.copies.prepare(inputs, slots)).last_hidden_state
        assert isinstance(hidden, Tensor)
        return hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardPath:
    """How a backbone is run; the default is the fastest.

    Attributes:
        own_layers: Whether attention, embeddings and linear layers are transformers' own, in
            place of those that are fastest here. The adapted projections are ours in any case.
        packs: Whether trials train together; otherwise one at a time.
        reason: Why it is not the fastest, for the user to read.
    """

    own_layers: bool = False
    packs: bool = True
    reason: str = ""

    @property
    def description(self) -> str:
        """How the model is run and why, for the user to read."""
        layers = "transformers' own attention" if self.own_layers else "fast attention"
        together = "" if self.packs else ", one trial at a time"
        return layers + together + (f", because {self.reason}" if self.reason else "")


FASTEST = ForwardPath()


class Copies:
    """Hands every slot its copy of a batch, as late as the model allows.

    Embeddings are the same for all slots, so they are computed once and copied; the inputs
    themselves are copied where a model keeps its embeddings elsewhere.

    Args:
        model: The backbone.
        late: Whether embeddings are copied, in place of the inputs.
    """

    def __init__(self, model: PreTrainedModel, *, late: bool = True) -> None:
        # ELECTRA's embeddings are narrower than its layers.
        names = ("embeddings_project", "embeddings")
        embeddings = next((getattr(model, name) for name in names if hasattr(model, name)), None)
        self._copies_embeddings = late and isinstance(embeddings, nn.Module)
        self._slots = 1
        if self._copies_embeddings:
            assert isinstance(embeddings, nn.Module)
            embeddings.register_forward_hook(lambda _module, _inputs, output: self._copy(output))

    def prepare(self, inputs: Mapping[str, Tensor], slots: int) -> dict[str, Tensor]:
        """Make the model's inputs for a number of slots."""
        self._slots = slots
        if not self._copies_embeddings:
            return {name: self._copy(values) for name, values in inputs.items()}
        # A mask goes past the embeddings.
        return {n: self._copy(v) if n == "attention_mask" else v for n, v in inputs.items()}

    def _copy(self, rows: Tensor) -> Tensor:
        return rows if self._slots == 1 else rows.repeat(self._slots, *[1] * (rows.dim() - 1))


def load_backbone(
    source: ModelSource,
    targets: Sequence[str],
    *,
    num_labels: int,
    precision: Precision,
    device: torch.device,
    path: ForwardPath = FASTEST,
    trains_pooler: bool | None = None,
    attention_of: str | None = None,
) -> Backbone:
    """Load a model and make its projections adaptable.

    Args:
        source: The pretrained model.
        targets: The adapted projections.
        num_labels: Classes of the task; 1 for regression.
        precision: Of the frozen weights.
        device: Where the backbone goes.
        path: How it is run.
        trains_pooler: Whether the pooler trains with the head; None for where it starts anew.
        attention_of: Kind of device whose attention it has, `cuda` or `cpu`; None for the device's.

    Raises:
        ModelError: If the model cannot be loaded or adapted.
    """
    attention = (
        None
        if path.own_layers
        else choose_attention(source, torch.device(attention_of or device.type))
    )
    model, missing = load_classifier(source, num_labels, attention=attention)
    model.requires_grad_(False)
    model.config.use_cache = False  # a decoder's, for tokens that never come
    backbone, head = split_off_head(model, missing, trains_pooler=trains_pooler)
    nn.Module.to(backbone, device=device, dtype=getattr(torch, precision))
    last_layer = _layer_of(find_projections(backbone, targets)[-1][0][0])
    sites = adapt_projections(backbone, targets, joins=path.packs)
    if not path.own_layers:
        freeze_linear_layers(backbone)
    loaded = Backbone(
        model=backbone,
        head=head.to(device),
        sites=sites,
        copies=Copies(backbone, late=not path.own_layers),
        device=device,
        packs=path.packs,
    )
    # Models of images add to all tokens behind attention.
    if not path.own_layers and not reads_images(source):
        skip_unread_tokens(backbone, last_layer, loaded, loaded.head)
    return loaded


def choose_attention(source: ModelSource, device: torch.device) -> str:
    """Choose a model's attention by the name under which transformers knows it."""
    # Models that keep an attention of their own know no other's name.
    model = MODEL_MAPPING[type(read_config(source))]
    if not getattr(model, "_supports_attention_backend", False):
        return "eager"
    return SHORT_ATTENTION if device.type == "cpu" else FUSED_ATTENTION


def _layer_of(projection: str) -> str:
    """Give the name of the layer that a projection is in, `encoder.layer.5` for instance."""
    match = re.match(r".*?\.\d+(?=\.)", projection)
    assert match is not None  # find_projections found a number
    return match[0]
