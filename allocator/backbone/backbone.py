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
    """A frozen backbone with adapted projections, and the head that came with it.

    Attributes:
        model: The backbone, frozen, in its final precision, with dropout off.
        head: The head as loaded; every trial gets a copy.
        sites: The adapted projections.
        repeater: Object that repeats a batch for every slot.
        device: Device of the backbone.
        packs: Whether trials may train together on it.
    """

    model: PreTrainedModel
    head: Head
    sites: PackedSites
    repeater: BatchRepeater
    device: torch.device
    packs: bool = True

    def __call__(self, inputs: Mapping[str, Tensor], blocks: Sequence[int] = (0,)) -> Tensor:
        """Compute hidden states under the updates that were last set on `sites`.

        Args:
            inputs: Keyword arguments of the model, each of shape (rows, ...): one block of rows,
                or several of the same size, one below the other.
            blocks: For each slot that has updates, the number of the block that it reads; every
                block is read by one of them.

        Returns:
            Shape (slots * rows of a block, tokens that the head reads, width), slot after slot.
        """
        self.sites.set_blocks(blocks)
        hidden = self.model(**self.repeater.prepare(inputs, blocks)).last_hidden_state
        assert isinstance(hidden, Tensor)
        return hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardPath:
    """The way in which a backbone is run; the default is the fastest.

    Attributes:
        own_layers: Whether attention, embeddings and linear layers are transformers' own instead
            of this package's faster ones. The adapted projections are always this package's.
        packs: Whether trials train together; otherwise one at a time.
        reason: Why it is not the fastest way, for the user; empty if it is.
    """

    own_layers: bool = False
    packs: bool = True
    reason: str = ""

    @property
    def description(self) -> str:
        """The way and the reason for it, in words for the user."""
        layers = "transformers' own attention" if self.own_layers else "fast attention"
        together = "" if self.packs else ", one trial at a time"
        return layers + together + (f", because {self.reason}" if self.reason else "")


FASTEST = ForwardPath()


class BatchRepeater:
    """An object that repeats rows for every slot that reads them, as late in the model as possible.

    Embeddings are the same for all slots, so they are computed once and then repeated. If a model
    has no module of that name, its inputs are repeated instead.

    Args:
        model: The backbone.
        repeats_embeddings: Whether to repeat embeddings if the model has them.
    """

    def __init__(self, model: PreTrainedModel, *, repeats_embeddings: bool = True) -> None:
        # ELECTRA widens its embeddings to the width of its layers by `embeddings_project`.
        names = ("embeddings_project", "embeddings")
        embeddings = next((getattr(model, name) for name in names if hasattr(model, name)), None)
        self._repeats_embeddings = repeats_embeddings and isinstance(embeddings, nn.Module)
        self._blocks: Sequence[int] = (0,)
        if self._repeats_embeddings:
            assert isinstance(embeddings, nn.Module)
            embeddings.register_forward_hook(lambda _module, _inputs, output: self._repeat(output))

    def prepare(self, inputs: Mapping[str, Tensor], blocks: Sequence[int]) -> dict[str, Tensor]:
        """Prepare the model's inputs for slots that each read one block of their rows."""
        self._blocks = blocks
        if not self._repeats_embeddings:
            return {name: self._repeat(values) for name, values in inputs.items()}
        # Attention reads the mask, after the embeddings.
        return {n: self._repeat(v) if n == "attention_mask" else v for n, v in inputs.items()}

    def _repeat(self, rows: Tensor) -> Tensor:
        slots, count = len(self._blocks), max(self._blocks) + 1
        if count == 1:  # all slots read all rows
            return rows if slots == 1 else rows.repeat(slots, *[1] * (rows.dim() - 1))
        # Joined, because an index made of a list would wait for the device.
        blocks = rows.unflatten(0, (count, -1)).unbind()
        return torch.cat([blocks[block] for block in self._blocks])


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
    """Load a pretrained model as a frozen backbone with adaptable projections, and its head.

    Args:
        source: The pretrained model.
        targets: The adapted projections.
        num_labels: Number of classes of the task; 1 for regression.
        precision: Precision of the frozen weights; the head stays in float32.
        device: Device of backbone and head.
        path: How the backbone is run.
        trains_pooler: As for `Head`.
        attention_of: Kind of device, `cuda` or `cpu`, whose attention the backbone uses; None for
            the kind of `device`.

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
    model.config.use_cache = False  # a decoder would keep keys and values to generate more tokens
    backbone, head = split_off_head(model, missing, trains_pooler=trains_pooler)
    # Called on nn.Module, because mypy does not see `self` in the method that transformers wraps.
    nn.Module.to(backbone, device=device, dtype=getattr(torch, precision))
    last_layer = _find_layer_name(find_projections(backbone, targets)[-1][0][0])
    sites = adapt_projections(backbone, targets, joins=path.packs)
    if not path.own_layers:
        freeze_linear_layers(backbone)
    loaded = Backbone(
        model=backbone,
        head=head.to(device),
        sites=sites,
        repeater=BatchRepeater(backbone, repeats_embeddings=not path.own_layers),
        device=device,
        packs=path.packs,
    )
    # Not for image models, which add to all tokens after attention.
    if not path.own_layers and not reads_images(source):
        skip_unread_tokens(backbone, last_layer, loaded, loaded.head)
    return loaded


def choose_attention(source: ModelSource, device: torch.device) -> str:
    """Choose the attention of a model by its name in transformers.

    Args:
        source: The pretrained model.
        device: The device that it will run on.
    """
    # MPNet and DeBERTa have their own attention and refuse any other name.
    model = MODEL_MAPPING[type(read_config(source))]
    if not getattr(model, "_supports_attention_backend", False):
        return "eager"
    return SHORT_ATTENTION if device.type == "cpu" else FUSED_ATTENTION


def _find_layer_name(projection: str) -> str:
    """Find the name of the layer, such as `encoder.layer.5`, in the name of a projection."""
    match = re.match(r".*?\.\d+(?=\.)", projection)
    assert match is not None  # find_projections returns only names with a layer's number
    return match[0]
