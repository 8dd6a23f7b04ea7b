"""An adapter as data: written and read without a loss."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.config import AdapterConfig
from allocator.errors import SpaceError
from allocator.files.adapter_section import (
    AdapterDescription,
    AdapterSection,
    ListedAllocation,
    describe_adapter,
)

BACKBONE = BackboneShape(d_in=32, heads=4, head_size=8, layers=2)
PLAIN = AdapterSpec(
    shape=AdapterShape(construction="att_qkv_depth", factorization="tucker", backbone=BACKBONE),
    config=AdapterConfig(),
)
FULL = AdapterSpec(
    shape=AdapterShape(
        construction="sites",
        factorization="tucker",
        backbone=BACKBONE,
        full_modes=frozenset({"site"}),
    ),
    config=AdapterConfig(scaling=2.0, initialization="normal"),
)
ZERO = AdapterSpec(
    shape=AdapterShape(
        construction="att_qkv_depth", factorization="cp", backbone=BACKBONE, zero_mode="heads"
    ),
    config=AdapterConfig(initialization="kaiming_uniform"),
)


@pytest.mark.parametrize("spec", [PLAIN, FULL, ZERO])
def test_a_specification_comes_back_from_its_section_even_through_json(spec: AdapterSpec) -> None:
    ranks = dict.fromkeys(spec.shape.rank_names, 2)
    section = AdapterSection.from_spec(spec, ranks)
    assert section.ranks == ranks
    assert section.to_spec(BACKBONE) == spec
    assert AdapterSection.model_validate_json(section.model_dump_json()) == section


def test_a_section_whose_parts_do_not_go_together_is_refused_where_it_is_placed() -> None:
    section = AdapterSection.from_spec(PLAIN, dict.fromkeys(PLAIN.shape.rank_names, 2))
    section = section.model_copy(update={"factorization": "matrix"})
    with pytest.raises(SpaceError):
        section.to_spec(BACKBONE)


@pytest.mark.parametrize(
    ("head_learning_rate", "dropout"), [(None, None), (3e-4, 0.2), (None, 0.0)]
)
def test_an_allocation_comes_back_from_a_list(
    head_learning_rate: float | None, dropout: float | None
) -> None:
    allocation = Allocation(
        ranks=dict.fromkeys(PLAIN.shape.rank_names, 2),
        learning_rate=1e-3,
        core_lr_multiplier=4.0,
        lr_multipliers={"input": 0.5},
        head_learning_rate=head_learning_rate,
        dropout=dropout,
    )
    listed = ListedAllocation.from_allocation(PLAIN, allocation)
    assert ListedAllocation.model_validate_json(listed.model_dump_json()).allocation == allocation
    assert listed.num_parameters == PLAIN.shape.num_parameters(allocation.ranks)
    assert listed.adapter.to_spec(BACKBONE) == PLAIN


def test_a_saved_adapters_description_has_its_specification_and_its_ranks() -> None:
    ranks = dict.fromkeys(ZERO.shape.rank_names, 3)
    description = describe_adapter(ZERO, ranks, "c0ffee", trains_pooler=False)
    assert AdapterDescription.model_validate_json(description.model_dump_json()) == description
    assert (description.spec, description.ranks) == (ZERO, ranks)
    assert (description.model_sha256, description.trains_pooler) == ("c0ffee", False)


def test_a_description_of_two_lists_of_targets_is_refused() -> None:
    description = describe_adapter(PLAIN, {"input": 1}, "", trains_pooler=True).model_dump()
    description["targets"] = ("query",)
    with pytest.raises(ValidationError, match=re.escape("targets of adapter and backbone must be")):
        AdapterDescription.model_validate(description)
