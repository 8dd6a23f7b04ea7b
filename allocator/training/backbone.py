"""The frozen transformer that all trials of a worker share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from allocator.adapters import Sites, adapt
from allocator.adapters import backbone_shape as shape_of
from allocator.allocation import BackboneShape
from allocator.config import Precision
from allocator.errors import ModelError
from allocator.training.head import Head, split_head
from allocator.training.models import ModelSource, read_config

_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """A frozen backbone with adapted projections, and the head it came with.

    Attributes:
        model: The backbone, in the precision chosen, its dropout off.
        head: The head as loaded; every trial takes a fresh copy.
        sites: The adapted projections.
        device: Where the backbone is.
    """

    model: PreTrainedModel
    head: Head
    sites: Sites
    device: torch.device

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute hidden states (batch, tokens, width) under the updates in use."""
        hidden = self.model(**inputs).last_hidden_state
        assert isinstance(hidden, Tensor)
        return hidden


def read_backbone_shape(source: ModelSource, targets: Sequence[str]) -> BackboneShape:
    """Read the numbers of a model that adapters depend on, without loading its weights."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(read_config(source))
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
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source.folder,
            num_labels=num_labels,
            dtype=torch.float32,
            # The bf16 backward pass of fused attention is slow on CPUs; plain products are not.
            attn_implementation="eager" if device.type == "cpu" else "sdpa",
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as problem:
        reason = str(problem).splitlines()[0]
        raise ModelError(f"model {source.name!r} cannot be loaded: {reason}") from None
    model.requires_grad_(False).eval()
    missing = set(report["missing_keys"])
    backbone, head = split_head(model, missing)
    prefix = model.base_model_prefix
    if lacking := sorted(n for n, _ in backbone.named_parameters() if f"{prefix}.{n}" in missing):
        raise ModelError(
            f"model {source.name!r} lacks {len(lacking)} weights of its backbone, "
            f"{lacking[0]} the first; its config.json belongs to other weights"
        )
    nn.Module.to(backbone, device=device, dtype=getattr(torch, precision))
    sites = adapt(backbone, targets)
    return Backbone(model=backbone, head=head.to(device), sites=sites, device=device)


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
