from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from allocator.training.attention import FUSED_ATTENTION, SHORT_ATTENTION, short_attention
from allocator.training.backbone import choose_attention
from allocator.training.models import ModelSource


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
    found, _ = short_attention(nn.Identity(), q, k, v, mask)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad((found * weights).sum(), (q, k, v)), gradients)


def test_heads_of_keys_and_values_serve_neighbouring_heads_of_the_query() -> None:
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(3, 6, 5, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    k, v = (
        torch.randn(3, 2, 5, 4, generator=draw, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    expected = F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2)
    found, _ = short_attention(nn.Identity(), q, k, v, None)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(expected.pow(3).sum(), (q, k, v))
    torch.testing.assert_close(torch.autograd.grad(found.pow(3).sum(), (q, k, v)), gradients)


def test_another_scaling_is_used() -> None:
    q, k, v = (t.detach() for t in tensors(tokens=5))
    expected = F.scaled_dot_product_attention(q, k, v, scale=0.25).transpose(1, 2)
    torch.testing.assert_close(short_attention(nn.Identity(), q, k, v, None, 0.25)[0], expected)


def test_gradients_are_those_of_finite_differences() -> None:
    q, k, v = tensors(tokens=3)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return short_attention(nn.Identity(), q, k, v, None)[0]

    assert torch.autograd.gradcheck(attend, (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_of_any_size_give_finite_shares(dtype: torch.dtype) -> None:
    q, k, v = (t.detach().to(dtype) * 1e4 for t in tensors(tokens=6))
    found, _ = short_attention(nn.Identity(), q, k, v, None)
    assert found.isfinite().all()
    assert found.abs().max() <= 1.01 * v.abs().max()


def test_what_a_mask_hides_has_no_share_at_all_and_a_row_without_anything_to_see_is_zero() -> None:
    q, k, v = (t.detach().float() for t in tensors(tokens=4))
    mask = torch.zeros(3, 1, 4, 4)
    mask[..., 2:] = torch.finfo(torch.float32).min
    mask[:, :, 3] = torch.finfo(torch.float32).min
    found, _ = short_attention(nn.Identity(), q, k, torch.ones_like(v), mask)
    v[:, :, :2] = 0.0
    hidden, _ = short_attention(nn.Identity(), q, k, v, mask)
    assert not hidden.any()  # not even a denormal number
    torch.testing.assert_close(found[:, :3], torch.ones_like(found[:, :3]))
    assert not found[:, 3].any()


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
