"""What a user can ask, checked wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from allocator.config import TrainingConfig
from allocator.errors import AllocatorError, StudyError
from allocator.tuning.plan.run_config import BaselineConfig, SweepConfig
from allocator.tuning.plan.search_config import SearchConfig

MakeConfig = Callable[..., SearchConfig]
RunFields = Mapping[str, object]


@pytest.mark.parametrize(
    ("field", "name"), [("sampler", "tpee"), ("pruner", "halvin"), ("select_on", "test")]
)
def test_an_unknown_name_makes_no_configuration(
    field: str, name: str, make_config: MakeConfig
) -> None:
    with pytest.raises(ValidationError, match=f"(?s)1 validation error .*{field}.*'{name}'"):
        make_config(**{field: name})


def test_an_unknown_kind_or_sweep_makes_no_configuration(run_fields: RunFields) -> None:
    with pytest.raises(ValidationError, match=r"(?s)also\.0.*'cpp'"):
        BaselineConfig.model_validate({**run_fields, "budget": 600, "also": ("cpp",)})
    with pytest.raises(ValidationError, match=r"(?s)sweep.*'tenslora'"):
        SweepConfig.model_validate({**run_fields, "sweep": "tenslora"})


def test_a_field_that_does_not_exist_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        make_config(trails=3)


def test_a_configuration_never_changes(make_config: MakeConfig) -> None:
    config = make_config()
    for model, field in ((config, "trials"), (config.training, "epochs")):
        with pytest.raises(ValidationError, match="Instance is frozen"):
            setattr(model, field, 7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(value: float, make_config: MakeConfig) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        make_config(prior_strength=value)
    with pytest.raises(ValidationError, match="finite number"):
        TrainingConfig(weight_decay=value)


def test_ranks_are_uncapped_only_where_one_is_given(run_fields: RunFields) -> None:
    asked = {**run_fields, "budget": 600, "uncapped": True}
    with pytest.raises(AllocatorError, match=r"^--uncapped needs a --rank, such as --rank 8"):
        BaselineConfig.model_validate(asked)
    assert BaselineConfig.model_validate({**asked, "rank": 8}).uncapped


def test_a_study_has_a_plain_name(make_config: MakeConfig) -> None:
    with pytest.raises(StudyError, match="must be a plain name of letters, digits, dots, dashes"):
        make_config(study=str(Path("..", "elsewhere")))
