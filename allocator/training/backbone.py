"""The frozen transformer that all trials of a worker share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    MODEL_MAPPING,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from allocator.adapters import Sites, adapt
from allocator.adapters import backbone_shape as shape_of
from allocator.adapters.projections import find_projections
from allocator.allocation import BackboneShape
from allocator.config import Precision
from allocator.errors import ModelError
from allocator.training.attention import FUSED_ATTENTION, SHORT_ATTENTION
from allocator.training.freeze import freeze_linears, skip_unread_tokens
from allocator.training.head import Head, split_head
from allocator.training.models import (
    ModelSource,
    read_config,
    reads_images,
    silence_loading,
)

_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """A frozen backbone with adapted projections, and the head it came with.

    Attributes:
        model: The backbone, in the precision chosen, its dropout off.
        head: The head as loaded; every trial takes a fresh copy.
        sites: The adapted projections.
        copies: Hands every slot its copy of a batch.
        device: Where the backbone is.
    """

    model: PreTrainedModel
    head: Head
    sites: Sites
    copies: Copies
    device: torch.device

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


class Copies:
    """Hands every slot its copy of a batch, as late as the model allows.

    Embeddings are the same for all slots, so they are computed once and copied; the inputs
    themselves are copied where a model keeps its embeddings elsewhere.

    Args:
        model: The backbone.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        # ELECTRA's embeddings are narrower than its layers.
        names = ("embeddings_project", "embeddings")
        embeddings = next((getattr(model, name) for name in names if hasattr(model, name)), None)
        self._copies_embeddings = isinstance(embeddings, nn.Module)
        self._slots = 1
        if isinstance(embeddings, nn.Module):
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


def read_backbone_shape(source: ModelSource, targets: Sequence[str]) -> BackboneShape:
    """Read the numbers of a model that adapters depend on, without loading its weights."""
    with torch.device("meta"):
        model = auto_class(source).from_config(read_config(source))  # type: ignore[no-untyped-call]
    return shape_of(model, targets)


def load_backbone(
    source: ModelSource,
    targets: Sequence[str],
    *,
    num_labels: int,
    precision: Precision,
    device: torch.device,
) -> Backbone:
    """Load a model and make its projections adaptable.

    Raises:
        ModelError: If the model cannot be loaded or adapted.
    """
    silence_loading()
    try:
        model, report = auto_class(source).from_pretrained(
            source.folder,
            num_labels=num_labels,
            ignore_mismatched_sizes=True,  # of a classifier for other classes
            dtype=torch.float32,
            attn_implementation=choose_attention(source, device),
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as problem:
        reason = str(problem).splitlines()[0]
        raise ModelError(f"model {source.name!r} cannot be loaded: {reason}") from None
    model.requires_grad_(False).eval()
    model.config.use_cache = False  # a decoder's, for tokens that never come
    missing = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    backbone, head = split_head(model, missing)
    prefix = model.base_model_prefix
    if lacking := sorted(n for n, _ in backbone.named_parameters() if f"{prefix}.{n}" in missing):
        raise ModelError(
            f"model {source.name!r} lacks {len(lacking)} weights of its backbone, "
            f"{lacking[0]} the first; its config.json belongs to other weights"
        )
    nn.Module.to(backbone, device=device, dtype=getattr(torch, precision))
    last_layer = _layer_of(find_projections(backbone, targets)[-1][0][0])
    sites = adapt(backbone, targets)
    freeze_linears(backbone)
    loaded = Backbone(
        model=backbone,
        head=head.to(device),
        sites=sites,
        copies=Copies(backbone),
        device=device,
    )
    if not reads_images(source):  # these add to all tokens behind attention: nothing can be cut
        skip_unread_tokens(backbone, last_layer, loaded, loaded.head)
    return loaded


def auto_class(
    source: ModelSource,
) -> type[AutoModelForImageClassification | AutoModelForSequenceClassification]:
    """Choose transformers' class for a model with a classification head."""
    if reads_images(source):
        return AutoModelForImageClassification
    return AutoModelForSequenceClassification


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


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer.

    Raises:
        ModelError: If it is missing or cannot be read.
    """
    # Without its files transformers makes up a tokenizer that knows no words.
    if not any(any(source.folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise ModelError(
            f"model {source.name!r} has no tokenizer: {source.folder} holds none of "
            f"{', '.join(_TOKENIZER_FILES)}"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise ModelError(f"model {source.name!r} has no usable tokenizer: {reason}") from None
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer
