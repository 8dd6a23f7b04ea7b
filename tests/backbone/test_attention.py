from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from allocator.backbone.attention import FUSED_ATTENTION, SHORT_ATTENTION, short_attention
from allocator.backbone.backbone import choose_attention
from allocator.models.model_source import ModelSource


def tensors(*, tokens: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    # As a model gives them: heads behind tokens in memory.
    return [
        torch.randn(3, tokens, 2, 4, generator=draw).to(dtype).transpose(1, 2).requires_grad_()
        for _ in range(3)
    ]


@pytest.mark.parametrize("tokens", [1, 2, 11, 40, 130])
@pytest.mark.parametrize("masked", [False, True])
def test_short_attention_is_scaled_dot_product_attention(tokens: int, masked: bool) -> None:
    q, k, v = tensors(tokens=tokens)
    mask = None
    if masked:
        mask = torch.zeros(3, 1, 1, tokens, dtype=torch.float64)
        mask[1:, :, :, tokens // 2 + 1 :] = torch.finfo(torch.float64).min
    weights = torch.randn(3, tokens, 2, 4, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
    gradients = torch.autograd.grad((expected * weights).sum(), (q, k, v))
    attended, _ = short_attention(nn.Identity(), q, k, v, mask)
    torch.testing.assert_close(attended, expected)
    torch.testing.assert_close(
        torch.autograd.grad((attended * weights).sum(), (q, k, v)), gradients
    )


def test_heads_of_keys_and_values_serve_neighbouring_heads_of_the_query() -> None:
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(3, 6, 5, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    k, v = (
        torch.randn(3, 2, 5, 4, generator=draw, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    expected = F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2)
    attended, _ = short_attention(nn.Identity(), q, k, v, None)
    torch.testing.assert_close(attended, expected)
    gradients = torch.autograd.grad(expected.pow(3).sum(), (q, k, v))
    torch.testing.assert_close(torch.autograd.grad(attended.pow(3).sum(), (q, k, v)), gradients)


def test_another_scaling_is_used() -> None:
    q, k, v = (t.detach() for t in tensors(tokens=5))
    expected = F.scaled_dot_product_attention(q, k, v, scale=0.25).transpose(1, 2)
    torch.testing.assert_close(short_attention(nn.Identity(), q, k, v, None, 0.25)[0], expected)


def test_gradients_are_those_of_finite_differences() -> None:
    q, k, v = tensors(tokens=3)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return short_attention(nn.Identity(), q, k, v, None)[0]

    assert torch.autograd.gradcheck(attend, (q, k, v))


@pytest.mark.parametrize("size", [40.0, 90.0, 200.0, -60.0, -75.0, -200.0])
@pytest.mark.parametrize("tokens", [6, 130])
def test_scores_of_any_size_give_the_shares_of_a_softmax(size: float, tokens: int) -> None:
    q, k, v = (t.detach() for t in tensors(tokens=tokens))
    # All scores of a row are moved by the same number, and differ from each other as before.
    large = torch.full_like(q[..., :1], abs(size) ** 0.5)
    q, k = torch.cat([q, large], -1), torch.cat([k, large.copysign(torch.tensor(size))], -1)
    expected = F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2)
    attended, _ = short_attention(nn.Identity(), q.float(), k.float(), v.float(), None, 1.0)
    torch.testing.assert_close(attended.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_beyond_every_exponential_give_finite_shares(dtype: torch.dtype) -> None:
    q, k, v = (t.detach().to(dtype) * 1e4 for t in tensors(tokens=6))
    attended, _ = short_attention(nn.Identity(), q, k, v, None)
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    torch.testing.assert_close(attended, expected)


def test_what_a_mask_hides_has_no_share_at_all() -> None:
    q, k, v = (t.detach().float() for t in tensors(tokens=4))
    mask = torch.zeros(3, 1, 1, 4)
    mask[..., 2:] = torch.finfo(torch.float32).min
    v[:, :, :2] = 0.0
    hidden, _ = short_attention(nn.Identity(), q, k, v, mask)
    assert not hidden.any()  # not even a denormal number


def test_a_row_without_anything_to_see_sees_all_alike_as_with_transformers_own() -> None:
    q, k, v = (t.detach().float() for t in tensors(tokens=4))
    mask = torch.zeros(3, 1, 4, 4)
    mask[:, :, 3] = torch.finfo(torch.float32).min
    attended, _ = short_attention(nn.Identity(), q, k, v, mask)
    torch.testing.assert_close(attended[:, 3], v.mean(2))


@pytest.mark.parametrize(
    ("kind", "on_cpu", "on_gpu"),
    [
        ("bert", SHORT_ATTENTION, FUSED_ATTENTION),
        ("mpnet", "eager", "eager"),  # knows no attention but its own, and refuses any other name
    ],
)
def test_every_device_has_an_attention_that_the_model_knows(
    kind: str, on_cpu: str, on_gpu: str, tiny_models: dict[str, Path]
) -> None:
    source = ModelSource(name=kind, folder=tiny_models[kind], sha256="")
    assert choose_attention(source, torch.device("cpu")) == on_cpu
    assert choose_attention(source, torch.device("cuda")) == on_gpu
    AutoModel.from_pretrained(source.folder, attn_implementation=on_gpu)
