"""Attention that transformers' models call by name: for short sequences on a CPU, or fused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

# Shapes: B sentences, H heads, T tokens, K head size

SHORT_ATTENTION, FUSED_ATTENTION = "allocator_short", "allocator_fused"
# A row whose largest score lies between these needs no shift: e^80 and its sums are finite in
# float32 and bfloat16, and what is e^-17 times as large as e^-40 is still far above _NOTHING.
_LOWEST, _HIGHEST = -40.0, 80.0
# What a mask hides becomes 0: products of numbers as small as e^-80 are denormal, and in float32 a
# CPU takes many times as long for those.
_NOTHING = 1e-30
# What attention is told besides: the mask says it too, or it is for training and for caches.
_WITHOUT_EFFECT = frozenset(
    {"dropout", "deterministic", "is_causal", "position_ids", "sliding_window", "use_cache"}
)
_LONG = 100  # tokens; longer rows are summed faster as rows
# Without cuDNN's kernel, which takes a tenth of a second to plan for every new shape: the lengths
# of batches make dozens of shapes, for every number of trials beside each other.
_FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class ShortAttention(torch.autograd.Function):
    """`softmax(scaling q k^T + mask) v` out of products and elementwise operations alone.

    A sentence has a dozen tokens. A softmax over rows that short spends its time on starting
    them, and fused attention has a slow backward pass in bfloat16 on CPUs; operations on whole
    tensors have neither cost. Sums over short rows are products with ones, which also spread
    them; an image has hundreds of tokens, and its rows are summed. As in any softmax, the largest
    score of a row is subtracted from it, in rows where an exponential could overflow or vanish.
    """

    @staticmethod
    def forward(
        ctx: Any,  # torch's own type has no attributes
        q_BHTK: Tensor,
        k_BHTK: Tensor,
        v_BHTK: Tensor,
        mask: Tensor | None,
        scaling: float,
    ) -> Tensor:
        """Attend; the mask broadcasts to (B, H, T, T)."""
        q_BHTK, k_BHTK, v_BHTK = q_BHTK.contiguous(), k_BHTK.contiguous(), v_BHTK.contiguous()
        p_BHTT = (q_BHTK @ k_BHTK.transpose(2, 3)).mul_(scaling)
        if mask is not None:
            p_BHTT += mask
        top_BHT1 = p_BHTT.amax(-1, keepdim=True)
        p_BHTT -= top_BHT1.where((top_BHT1 < _LOWEST) | (top_BHT1 > _HIGHEST), 0.0)
        p_BHTT = torch.threshold_(p_BHTT.exp_(), _NOTHING, 0.0)
        p_BHTT /= _row_sums(p_BHTT)
        ctx.save_for_backward(q_BHTK, k_BHTK, v_BHTK, p_BHTT)
        ctx.scaling = scaling
        return p_BHTT @ v_BHTK

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        gradient: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Give the gradients of q, k and v."""
        q_BHTK, k_BHTK, v_BHTK, p_BHTT = ctx.saved_tensors
        gradient = gradient.contiguous()
        ds_BHTT = (gradient @ v_BHTK.transpose(2, 3)).mul_(p_BHTT)
        ds_BHTT = ds_BHTT.addcmul_(p_BHTT, _row_sums(ds_BHTT), value=-1).mul_(ctx.scaling)
        return (
            ds_BHTT @ k_BHTK,
            ds_BHTT.transpose(2, 3) @ q_BHTK,
            p_BHTT.transpose(2, 3) @ gradient,
            None,
            None,
        )


def _row_sums(x_BHTT: Tensor) -> Tensor:
    if x_BHTT.shape[-1] > _LONG:
        return x_BHTT.sum(-1, keepdim=True)
    return x_BHTT @ x_BHTT.new_ones(x_BHTT.shape[-1], x_BHTT.shape[-1])


def short_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Attend as transformers asks: from (B, H, T, K) each to (B, T, H, K).

    Keys and values may have fewer heads, each for several neighbouring heads of the query
    (grouped-query attention, Ainslie et al. 2023, arXiv 2305.13245).

    Raises:
        ValueError: If more is asked for, such as a soft cap or a sink.
    """
    del module
    _require_plain(options)
    if (queries := query.shape[1] // key.shape[1]) > 1:
        key, value = (x.repeat_interleave(queries, dim=1) for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended: Tensor = ShortAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, attention_mask, scale
    )
    return attended.transpose(1, 2), None


def _require_plain(options: Mapping[str, object]) -> None:
    """Refuse an attention that is more than a masked softmax of scaled products."""
    for name, value in options.items():
        if value is not None and name not in _WITHOUT_EFFECT:
            raise ValueError(f"fast attention does not support {name}, which the model asks for")


def fused_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,  # transformers' own, each of its own type
) -> tuple[Tensor, None]:
    """Attend by torch's fused kernels; arguments, result and errors as of `short_attention`."""
    _require_plain({name: value for name, value in options.items() if name != "scaling"})
    with sdpa_kernel(_FUSED):
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return attended, None


def fused_mask(*, attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """Make the mask of fused attention without looking whether anything is padded.

    Such a look waits for the device at every step; batches without padding come without a mask.
    """
    if attention_mask is not None:
        options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    mask: Tensor | None = sdpa_mask(attention_mask=attention_mask, **options)
    return mask


AttentionInterface.register(SHORT_ATTENTION, short_attention)
AttentionMaskInterface.register(SHORT_ATTENTION, eager_mask)
AttentionInterface.register(FUSED_ATTENTION, fused_attention)
AttentionMaskInterface.register(FUSED_ATTENTION, fused_mask)
