import math

import pytest
import torch
from torch import Tensor

from allocator.adapters.initialization import draw_factor
from allocator.config import Initialization


def draw(
    how: Initialization, dim: int, rank: int, copies: tuple[int, int] = (1, 1), seed: int = 0
) -> Tensor:
    return draw_factor(copies, dim, rank, how, torch.Generator().manual_seed(seed)).detach()


@pytest.mark.parametrize("how", ["orthogonal", "normal", "kaiming_uniform"])
def test_every_copy_has_values_of_its_own(how: Initialization) -> None:
    values = draw(how, 5, 3, copies=(2, 4))
    assert values.shape == (2, 4, 5, 3)
    assert len(values.flatten(0, 1).unique(dim=0)) == 8


@pytest.mark.parametrize("how", ["orthogonal", "normal", "kaiming_uniform"])
def test_the_generator_alone_decides_the_values(how: Initialization) -> None:
    assert torch.equal(draw(how, 5, 3), draw(how, 5, 3))
    assert not torch.equal(draw(how, 5, 3), draw(how, 5, 3, seed=1))


def test_orthogonal_columns_are_orthonormal() -> None:
    values = draw("orthogonal", 20, 6, copies=(2, 3))
    gram = values.transpose(2, 3) @ values
    torch.testing.assert_close(gram, torch.eye(6).expand(2, 3, 6, 6))


def test_rows_are_orthonormal_where_a_rank_exceeds_its_mode() -> None:
    values = draw("orthogonal", 3, 8)
    torch.testing.assert_close(values @ values.transpose(2, 3), torch.eye(3).expand(1, 1, 3, 3))


def test_normal_columns_have_unit_length_on_average() -> None:
    values = draw("normal", 400, 200)
    assert values.square().sum(dim=2).mean().item() == pytest.approx(1, rel=0.02)
    assert values.mean().item() == pytest.approx(0, abs=1e-3)


def test_kaiming_values_are_drawn_as_peft_draws_loras_a() -> None:
    values = draw("kaiming_uniform", 300, 200)
    reference = torch.empty(200, 300)
    torch.nn.init.kaiming_uniform_(reference, a=math.sqrt(5))
    assert values.abs().max().item() == pytest.approx(reference.abs().max().item(), rel=1e-3)
    assert values.std().item() == pytest.approx(reference.std().item(), rel=0.02)
