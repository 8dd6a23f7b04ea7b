"""Makes a frozen backbone do no more than its trials need."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

# Of products of other sizes, which may add in another order.
_ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 0.02}


def skip_unread_tokens(
    model: PreTrainedModel,
    last_layer: str,
    hidden_states: Callable[[Mapping[str, Tensor]], Tensor],
    head: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
) -> bool:
    """Let the last layer's feed-forward part compute the first token alone, where that suffices.

    Most heads read one token. Whether this one does, its gradients say; behind which part of the
    layer the other tokens may go, is tried.

    Args:
        model: The backbone.
        last_layer: Name of its last layer.
        hidden_states: Runs the backbone.
        head: Takes hidden states of shape (batch, tokens, width), and what the backbone read.

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
    for part in model.get_submodule(last_layer).children():
        hook = part.register_forward_hook(lambda _module, _inputs, output: _first_token(output))
        try:
            found = hidden_states(inputs).detach()
        except RuntimeError:  # shapes no longer fit
            found = expected
        if found.shape[1] == 1 and bool(
            (found[:, 0] - expected[:, 0]).abs().max() <= rounding * expected.abs().max()
        ):
            return True
        hook.remove()
    return False


def _reads_first_token_only(
    head: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
    hidden: Tensor,
    inputs: Mapping[str, Tensor],
) -> bool:
    watched = hidden.float().requires_grad_()
    (gradient,) = torch.autograd.grad(head(watched, inputs).sum(), watched)
    return bool((gradient[:, 1:] == 0).all())


def _first_token(output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(output, tuple):
        return output[0][:, :1], *output[1:]
    return output[:, :1]
