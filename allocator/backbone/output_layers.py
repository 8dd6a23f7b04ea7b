"""Find the last linear layers of a head, into which a calibration can be folded."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from allocator.errors import ModelError
from allocator.models.head_parameters import find_head_parameters


def find_output_layers(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """Find the linear layers of a head whose outputs are the logits, by their names in the model.

    Most heads have one; a DeiT that was distilled averages two. They are among the layers that
    train, so a trained adapter's file has them.

    Args:
        model: A model with a head for classification or regression.

    Raises:
        ModelError: If there is none.
    """
    trained = find_head_parameters(model, trains_pooler=False)
    width = model.config.num_labels
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features == width
        and f"{name}.weight" in trained
    }
    if not layers:
        raise ModelError(
            f"the head of {type(model).__name__} cannot be calibrated: none of its linear layers "
            f"has num_labels = {width} outputs; choose another --model"
        )
    last, layer = list(layers.items())[-1]
    # With as many classes as hidden units, the layers before the last look like it.
    return {last: layer} if layer.in_features == width else layers


@torch.no_grad()
def require_scalable_logits(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> None:
    """Refuse a head whose logits do not double when its last linear layer does.

    Args:
        model: A model with a head; it is left as it is.
        inputs: Keyword arguments of the model, each of shape (batch, ...).

    Raises:
        ModelError: If its layers of as many outputs as labels do not make the logits.
    """
    layers = find_output_layers(model)
    doubled = {
        f"{name}.{parameter}": 2 * value
        for name, layer in layers.items()
        for parameter, value in layer.named_parameters()
    }
    logits = model(**inputs).logits
    scaled = torch.func.functional_call(model, doubled, (), dict(inputs)).logits
    # Doubling rounds nothing, so the tolerance is for sums in another order.
    if not torch.allclose(scaled, 2 * logits, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise ModelError(
            f"the head of {type(model).__name__} cannot be calibrated: its logits do not scale "
            f"with {', '.join(layers)}; choose another --model"
        )
