import pytest

from allocator.allocation.budget import count_budget_parameters
from allocator.allocation.constructions import BackboneShape
from allocator.config import LoraBudget


def test_a_number_is_a_budget_as_it_is() -> None:
    assert (
        count_budget_parameters(40_000, BackboneShape(d_in=8, heads=2, head_size=4, layers=1))
        == 40_000
    )


def test_the_known_count_of_lora_of_rank_8_on_roberta_base() -> None:
    roberta = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
    assert count_budget_parameters(LoraBudget(8), roberta) == 442_368


@pytest.mark.parametrize("targets", [("query",), ("key", "value"), ("q", "k", "v", "o")])
def test_loras_parameters_grow_with_layers_targets_and_both_widths(
    targets: tuple[str, ...],
) -> None:
    backbone = BackboneShape(d_in=20, heads=2, head_size=5, layers=3, targets=targets)
    assert count_budget_parameters(LoraBudget(4), backbone) == 3 * len(targets) * 4 * (20 + 10)
