"""Configurations of studies and lists that were changed by hand, or come from somebody else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from allocator.coordination.list_config import (
    ListConfig,
    read_shared_config,
)
from allocator.errors import StudyError
from allocator.files.adapter_section import ListedAllocation
from allocator.files.study_folder import CONFIG_FILE
from allocator.files.yaml_files import write_yaml
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.storage.study_config import StudyConfig

MakeConfig = Callable[..., SearchConfig]
SHARED = ("training.weight_decay", "training.warmup", "training.epochs", "backbone.d_in")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a configuration goes."""
    return tmp_path / CONFIG_FILE


def change(path: Path, key: str, value: float) -> str:
    """Change a value, and give the message that it must get."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    *keys, last = key.split(".")
    section = content
    for name in keys:
        section = section[int(name) if isinstance(section, list) else name]
    section[last] = value
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return f"^{re.escape(f'{path}: {key}: Input should be a finite number, got {value}')}$"


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(
    "key", [*SHARED, "prior_strength", "space.scaling", "start.0.learning_rate", "budget"]
)
def test_a_study_is_not_read_with_a_number_that_is_not_finite(
    key: str, value: str, make_config: MakeConfig, path: Path
) -> None:
    study = plan_search(make_config()).recorded
    start = ({"learning_rate": 1e-3},)
    write_yaml(path, study.model_copy(update={"start": start}), "A study.")
    message = change(path, key, float(value))
    with pytest.raises(StudyError, match=message):
        read_shared_config(path, StudyConfig)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(
    "key", [*SHARED, "allocations.one.learning_rate", "allocations.one.adapter.scaling"]
)
def test_a_list_is_not_read_with_a_number_that_is_not_finite(
    key: str, value: str, make_config: MakeConfig, path: Path
) -> None:
    plan = plan_search(make_config())
    one = ListedAllocation.from_allocation(plan.setup.spec, plan.setup.typical)
    write_yaml(path, ListConfig.of(plan.recorded, {"one": one}), "A list.")
    message = change(path, key, float(value))
    with pytest.raises(StudyError, match=message):
        read_shared_config(path, ListConfig)


def test_a_configuration_that_is_not_utf8_is_refused(path: Path) -> None:
    path.write_bytes("study: caf\u00e9".encode("latin-1"))
    with pytest.raises(StudyError, match=r"config\.yaml is not text in UTF-8$"):
        read_shared_config(path, StudyConfig)


def test_a_list_of_a_version_that_held_out_other_examples_is_not_gone_on_with(
    make_config: MakeConfig, path: Path
) -> None:
    plan = plan_search(make_config())
    one = ListedAllocation.from_allocation(plan.setup.spec, plan.setup.typical)
    write_yaml(path, ListConfig.of(plan.recorded, {"one": one}), "A list.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    del content["training"]["held_out"]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(StudyError, match="made by an earlier version, whose trainings"):
        read_shared_config(path, ListConfig)
