"""What a user can ask of a search alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from allocator.errors import UnknownNameError
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.samplers.gp_sampler import PRIOR_STRENGTH

MakeConfig = Callable[..., SearchConfig]


def test_the_prior_is_by_default_as_strong_as_the_samplers_own() -> None:
    assert SearchConfig.model_fields["prior_strength"].default == PRIOR_STRENGTH


@pytest.mark.parametrize("name", ["truncaton", "study:"])
def test_an_unknown_prior_gets_the_nearest_name(name: str, make_config: MakeConfig) -> None:
    with pytest.raises(UnknownNameError, match=f"^unknown prior '{name}': did you mean '"):
        make_config(prior=name)
    assert make_config(prior="study:other").prior == "study:other"
