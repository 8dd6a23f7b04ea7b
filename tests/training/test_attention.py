import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from allocator.training.attention import short_attention


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
