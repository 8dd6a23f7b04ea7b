"""Two attention functions that transformers' models call by name: one for CPUs, one for GPUs."""

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
# A row of scores whose largest one lies between these needs no shift before the exponential: sums
# of e^80 are finite in float32 and bfloat16. If the largest exponential is e^-40, all exponentials
# that matter in a float32 sum are at least e^-57, which is above _SMALLEST_WEIGHT.
_LOWEST_MAXIMUM, _HIGHEST_MAXIMUM = -40.0, 80.0
# Exponentials below this become 0. Masked scores leave some as small as e^-80, whose products are
# denormal numbers, which a CPU multiplies many times more slowly in float32.
_SMALLEST_WEIGHT = 1e-30
# Options of transformers without effect here: the mask already has their effect, or they concern
# dropout inside of attention, which is off, or caches, which are not used.
_IGNORED_OPTIONS = frozenset(
    {"dropout", "deterministic", "is_causal", "position_ids", "sliding_window", "use_cache"}
)
# Largest number of tokens for which a row is summed by a product with ones. With 257 tokens (32
# images, 6 heads, forward and backward) products take 208 ms and sums 130 ms in bfloat16, 543 and
# 311 in float32.
_LONGEST_SHORT_ROW = 100
# Without cuDNN's kernel, which needs 0.1 s to plan every new shape: there are dozens of lengths of
# batches, each with every number of trials in a pack.
_FUSED_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class ShortAttention(torch.autograd.Function):
    """`softmax(scaling q k^T + mask) v` from matrix products and elementwise operations alone.

    A sentence has about a dozen tokens. torch's softmax works row by row, and with rows that short
    most of its time is overhead for each row; its fused attention has a backward pass on CPUs that
    takes over ten times as long in bfloat16 as plain matrix products. Operations on whole tensors
    have neither cost.
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
        """Compute attention.

        Args:
            ctx: Context that keeps tensors for the backward pass.
            q_BHTK: Queries.
            k_BHTK: Keys.
            v_BHTK: Values.
            mask: Mask that is added to the scores, of a shape that broadcasts to (B, H, T, T), or
                None.
            scaling: Factor of the scores before the mask is added.

        Returns:
            Shape (B, H, T, K).
        """
        # Each is read by a product here and another in the backward pass; made contiguous once, it
        # is not copied for each.
        q_BHTK, k_BHTK, v_BHTK = q_BHTK.contiguous(), k_BHTK.contiguous(), v_BHTK.contiguous()
        p_BHTT = (q_BHTK @ k_BHTK.transpose(2, 3)).mul_(scaling)
        if mask is not None:
            p_BHTT += mask
        # A softmax does not change when a row is shifted. Rows whose exponentials would overflow or
        # vanish are shifted by their largest score; the others stay as they are.
        top_BHT1 = p_BHTT.amax(-1, keepdim=True)
        is_extreme_BHT1 = (top_BHT1 < _LOWEST_MAXIMUM) | (top_BHT1 > _HIGHEST_MAXIMUM)
        p_BHTT -= top_BHT1.where(is_extreme_BHT1, 0.0)
        p_BHTT = torch.threshold_(p_BHTT.exp_(), _SMALLEST_WEIGHT, 0.0)
        p_BHTT /= _sum_rows(p_BHTT)
        ctx.save_for_backward(q_BHTK, k_BHTK, v_BHTK, p_BHTT)
        ctx.scaling = scaling
        return p_BHTT @ v_BHTK

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        gradient: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Compute the gradients of q, k and v; the mask and the scaling have none."""
        q_BHTK, k_BHTK, v_BHTK, p_BHTT = ctx.saved_tensors
        gradient = gradient.contiguous()
        # The gradient of a softmax: dS = P * (dP - rowsum(P * dP)), elementwise, with dP = dO V^T.
        ds_BHTT = (gradient @ v_BHTK.transpose(2, 3)).mul_(p_BHTT)
        ds_BHTT = ds_BHTT.addcmul_(p_BHTT, _sum_rows(ds_BHTT), value=-1).mul_(ctx.scaling)
        return (
            ds_BHTT @ k_BHTK,
            ds_BHTT.transpose(2, 3) @ q_BHTK,
            p_BHTT.transpose(2, 3) @ gradient,
            None,
            None,
        )


def _sum_rows(x_BHTT: Tensor) -> Tensor:
    """Sum every row, to a shape that broadcasts to that of `x_BHTT`."""
    if x_BHTT.shape[-1] > _LONGEST_SHORT_ROW:
        return x_BHTT.sum(-1, keepdim=True)
    # A square matrix of ones, so that every column holds the sum and nothing needs to broadcast.
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
    """Compute attention behind transformers' interface for attention functions.

    Args:
        module: The attention layer, which is not used.
        query: Shape (B, H, T, K).
        key: Shape (B, H, T, K), or with fewer heads, each for several neighbouring heads of the
            query (grouped-query attention, Ainslie et al. 2023, arXiv 2305.13245).
        value: As `key`.
        attention_mask: Mask that is added to the scores, broadcast to (B, H, T, T); None for no
            mask.
        scaling: Factor of the scores; None for 1 / sqrt(K).
        options: Further options of transformers.

    Returns:
        Shape (B, T, H, K), and None in place of the attention weights.

    Raises:
        ValueError: If the model asks for an option that is not supported, such as a soft cap or an
            attention sink.
    """
    del module
    _require_plain_softmax(options)
    if (group := query.shape[1] // key.shape[1]) > 1:
        key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended: Tensor = ShortAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, attention_mask, scale
    )
    return attended.transpose(1, 2), None


def _require_plain_softmax(options: Mapping[str, object]) -> None:
    """Refuse options of an attention that is more than a masked softmax of scaled products."""
    for name, value in options.items():
        if value is not None and name not in _IGNORED_OPTIONS:
            raise ValueError(f"fast attention does not support {name}, which the model asks for")


def fused_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,  # transformers' own, each of its own type
) -> tuple[Tensor, None]:
    """Compute attention with torch's fused kernels; everything else as for `short_attention`."""
    _require_plain_softmax({name: value for name, value in options.items() if name != "scaling"})
    with sdpa_kernel(_FUSED_KERNELS):
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return attended, None


def fused_mask(*, attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """Build the mask of fused attention without reading whether anything is padded.

    transformers reads from the device whether a mask hides anything, to leave it out otherwise, and
    every step would wait for that. Here batches without padding have no mask to begin with.

    Args:
        attention_mask: Shape (B, T), 1 for a token and 0 for padding; None if nothing is padded.
        options: Further options of transformers.
    """
    if attention_mask is not None:
        options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    mask: Tensor | None = sdpa_mask(attention_mask=attention_mask, **options)
    return mask


AttentionInterface.register(SHORT_ATTENTION, short_attention)
AttentionMaskInterface.register(SHORT_ATTENTION, eager_mask)
AttentionInterface.register(FUSED_ATTENTION, fused_attention)
AttentionMaskInterface.register(FUSED_ATTENTION, fused_mask)
