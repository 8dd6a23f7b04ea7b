"""Skip tokens in the last layer that the head does not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

# Largest difference that counts as rounding, as a fraction of the largest hidden state: products of
# other sizes may sum in another order.
_ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 0.02}


def skip_unread_tokens(
    model: PreTrainedModel,
    last_layer: str,
    hidden_states: Callable[[Mapping[str, Tensor]], Tensor],
    head: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
) -> bool:
    """Make the last layer drop all tokens but the first after its attention, if that is exact.

    Most heads read only the first token. The gradient of the logits shows whether this one does.
    Names do not show which submodule of the layer is its attention. So dropping tokens is tried
    after one submodule after another, until the first token's hidden state stays the same.

    Args:
        model: The backbone; a hook stays on it if tokens are skipped.
        last_layer: Name of its last layer.
        hidden_states: Runs the backbone on its inputs; returns shape (batch, tokens, width).
        head: Computes logits from hidden states and the inputs of the backbone.

    Returns:
        Whether the other tokens are now skipped.
    """
    draw = torch.Generator().manual_seed(0)
    inputs = {
        "input_ids": torch.randint(model.config.vocab_size, (4, 9), generator=draw).to(model.device)
    }
    expected = hidden_states(inputs).detach()
    if not _reads_first_token_only(head, expected, inputs):
        return False
    rounding = _ROUNDING[expected.dtype]
    for module in model.get_submodule(last_layer).children():
        hook = module.register_forward_hook(lambda _module, _in, output: _keep_first_token(output))
        try:
            shortened = hidden_states(inputs).detach()
        except RuntimeError:  # shapes do not fit: the layer adds all tokens afterwards
            shortened = expected
        if shortened.shape[1] == 1 and bool(
            (shortened[:, 0] - expected[:, 0]).abs().max() <= rounding * expected.abs().max()
        ):
            return True
        hook.remove()
    return False


def _reads_first_token_only(
    head: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
    hidden: Tensor,
    inputs: Mapping[str, Tensor],
) -> bool:
    # A token that is not read has a gradient of exactly zero.
    watched = hidden.float().requires_grad_()
    (gradient,) = torch.autograd.grad(head(watched, inputs).sum(), watched)
    return bool((gradient[:, 1:] == 0).all())


def _keep_first_token(output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(output, tuple):  # an attention that returns its weights too
        return output[0][:, :1], *output[1:]
    return output[:, :1]
