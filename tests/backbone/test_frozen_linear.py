import pytest
import torch
from torch import Tensor, nn

from allocator.backbone.frozen_linear import FrozenLinear, can_pack


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frozen_layer_multiplies_and_passes_gradients_as_a_linear_layer(
    dtype: torch.dtype, has_bias: bool
) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(24, 40, bias=has_bias).requires_grad_(False)
    nn.Module.to(linear, dtype)
    frozen = FrozenLinear(linear.weight, linear.bias)
    x = torch.randn(3, 5, 24, dtype=dtype, requires_grad=True)
    weights = torch.randn(3, 5, 40, dtype=dtype)
    (linear(x) * weights).sum().backward()
    expected, x.grad = x.grad, None
    product = frozen(x)
    (product * weights).sum().backward()
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(product, linear(x), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(x.grad, expected, rtol=tolerance, atol=tolerance)


def test_nothing_of_a_frozen_layer_trains_or_is_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    frozen = FrozenLinear(torch.randn(4, 4).bfloat16(), torch.zeros(4).bfloat16())
    x = torch.randn(2, 4).bfloat16().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        frozen(x)
    assert not list(frozen.parameters())
    if can_pack(torch.zeros(1, dtype=torch.bfloat16)):
        assert not kept


def test_only_half_precision_on_a_cpu_is_packed() -> None:
    assert not can_pack(torch.zeros(2, 2))
    assert not can_pack(torch.zeros(2, 2, dtype=torch.bfloat16, device="meta"))
