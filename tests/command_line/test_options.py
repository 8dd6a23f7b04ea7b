"""Options made from configurations: every field can be set, and its bounds hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from annotated_types import Ge, Gt, Le, Lt

from allocator import baseline, sweep
from allocator.command_line.options import read_config
from allocator.command_line.parser import LARGEST, run_command
from allocator.config import LoraBudget, TrainingConfig
from allocator.files.recipe import read_recipe
from allocator.files.study_folder import RECIPE_FILE
from allocator.search import build_parser, main
from allocator.tuning.names import KindName, PriorName, PrunerName, SamplerName, SweepName
from allocator.tuning.plan.run_config import BaselineConfig, SweepConfig
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from tests.command_line.mistakes import read_mistake

REQUIRED = ["--task", "cola", "--budget", "600"]
FIELDS = list(TrainingConfig.model_fields)


def make_flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def choose_other_value(name: str) -> float:
    """Choose a value within a field's bounds that is not its default."""
    field = TrainingConfig.model_fields[name]
    if field.annotation is int:
        return int(field.default) + 1
    return float(field.default) / 2 or 0.25


def list_bad_values(name: str) -> list[str]:
    """List values just outside of a field's bounds."""
    field = TrainingConfig.model_fields[name]
    values = ["nan", "inf", "much", ""]
    for bound in field.metadata:
        if isinstance(bound, Ge):
            values.append(str(bound.ge - 1))  # type: ignore[operator]  # numbers
        elif isinstance(bound, Gt):
            values.append(str(bound.gt))
        elif isinstance(bound, Lt):
            values.append(str(bound.lt))
        elif isinstance(bound, Le):
            values.append(str(bound.le + 0.1))  # type: ignore[operator]  # numbers
    return values


OTHERS = {name: choose_other_value(name) for name in FIELDS}
ALL_FLAGS = [f"{make_flag(name)}={value}" for name, value in OTHERS.items()]


def read_search(*options: str) -> SearchConfig:
    return read_config(SearchConfig, build_parser().parse_args([*REQUIRED, *options]))


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_of_the_training_has_an_option_of_every_command(name: str) -> None:
    option = f"{make_flag(name)}={OTHERS[name]}"
    expected = TrainingConfig.model_validate({name: OTHERS[name]})
    assert expected != TrainingConfig()
    assert read_search(option).training == expected
    given = baseline.build_parser().parse_args([*REQUIRED, option])
    assert read_config(BaselineConfig, given).training == expected
    given = sweep.build_parser().parse_args(["tenslora-plus", "--task", "cola", option])
    assert read_config(SweepConfig, given).training == expected


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in FIELDS for value in list_bad_values(name)]
)
def test_a_setting_outside_of_its_bounds_is_refused_in_one_line(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = read_mistake(capsys, ["search", *REQUIRED, f"{make_flag(name)}={value}"])
    assert f"argument {make_flag(name)}: must be " in line
    assert f", got {value!r}" in line


@pytest.mark.parametrize("value", ["0", "1", "0.6", "nan"])
def test_what_is_held_out_is_half_of_train_at_most(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = read_mistake(capsys, ["search", *REQUIRED, "--held-out", value])
    rule = f"argument --held-out: must be a positive number of 0.5 or less, got {value!r}"
    assert rule in line


@pytest.mark.parametrize("name", FIELDS)
def test_the_option_and_the_configuration_have_the_same_bounds(name: str) -> None:
    bounds: Mapping[type, Any] = {type(b): b for b in TrainingConfig.model_fields[name].metadata}
    if Ge in bounds:
        least = bounds[Ge].ge
        training = read_search(f"{make_flag(name)}={least}").training
        assert getattr(training, name) == least
    if Le in bounds:
        training = read_search(f"{make_flag(name)}={bounds[Le].le}").training
        assert getattr(training, name) == bounds[Le].le
    if TrainingConfig.model_fields[name].annotation is int:
        training = read_search(f"{make_flag(name)}={LARGEST}").training
        assert getattr(training, name) == LARGEST


def test_all_settings_of_the_training_reach_the_workers_and_the_recipe(
    tiny_bert: Path, small_glue: Path, tmp_path: Path
) -> None:
    places = ["--model", str(tiny_bert), "--data-dir", str(small_glue), "--study", "tiny"]
    devices = ["--devices", "cpu", "--precision", "float32", "--slots", "1"]
    size = ["--trials", "1", "--verdict-seeds", "0", "--limit", "160"]
    given = [*places, *devices, *size, "--studies-dir", str(tmp_path), *ALL_FLAGS]
    setup = plan_search(read_search(*given)).setup
    assert {name: getattr(setup.training, name) for name in FIELDS} == OTHERS
    assert run_command(main, [*REQUIRED, *given, "--quiet"]) == 0
    recipe = read_recipe(tmp_path / "tiny" / RECIPE_FILE)
    assert {name: getattr(recipe.training, name) for name in FIELDS} == OTHERS
    assert recipe.training.config == setup.training


@pytest.mark.parametrize(
    ("field", "kind", "names"),
    [
        ("sampler", "sampler", get_args(SamplerName)),
        ("pruner", "pruner", get_args(PrunerName)),
        ("prior", "prior", get_args(PriorName)),
    ],
)
def test_a_search_takes_every_name_and_lists_them_all_where_it_refuses_another(
    field: str, kind: str, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        assert getattr(read_search(f"--{field}={name}"), field) == name
    line = read_mistake(capsys, ["search", *REQUIRED, f"--{field}=?"])
    extra = ["study:NAME"] if field == "prior" else []
    assert f"unknown {kind} '?': known are {', '.join(sorted([*names, *extra]))}" in line


def test_a_baseline_and_a_sweep_take_every_name_and_list_them_all_where_they_refuse_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kinds = get_args(KindName)
    given = baseline.build_parser().parse_args([*REQUIRED, f"--also={','.join(kinds)},lora"])
    assert read_config(BaselineConfig, given).also == kinds
    line = read_mistake(capsys, ["baseline", *REQUIRED, "--also=cp,?"])
    assert f"'?': known are {', '.join(sorted(kinds))}" in line
    for name in get_args(SweepName):
        given = sweep.build_parser().parse_args([name, "--task", "cola"])
        assert read_config(SweepConfig, given).sweep == name
    line = read_mistake(capsys, ["sweep", "?", "--task", "cola"])
    assert f"unknown sweep '?': known are {', '.join(get_args(SweepName))}" in line


def test_options_left_out_are_the_defaults_of_the_configuration() -> None:
    expected = SearchConfig(
        task="cola", budget=(600,), training=TrainingConfig(), model_cache=Path()
    )
    place = {"model_cache", "fallback_data_dir"}  # from the environment
    assert read_search().model_dump(exclude=place) == expected.model_dump(exclude=place)


def test_auto_stands_for_what_is_measured() -> None:
    config = read_search("--slots", "auto", "--precision", "auto")
    assert (config.slots, config.precision) == (None, None)
    config = read_search("--slots", "3", "--precision", "bfloat16")
    assert (config.slots, config.precision) == (3, "bfloat16")


def test_lists_keep_their_order_and_each_name_once() -> None:
    config = read_search("--targets", "value,query,value", "--devices", "cuda:0,,cuda:1")
    assert config.targets == ("value", "query")
    assert config.devices == ("cuda:0", "cuda:1")
    config = read_search("--start", "a.yaml", "--start", "b.yaml", "--budget", "lora:4")
    assert config.start == (Path("a.yaml"), Path("b.yaml"))
    assert config.budget == (LoraBudget(4),)
    assert read_search("--budget", "900,lora:4,900").budget == (900, LoraBudget(4))


def test_the_environment_names_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALLOCATOR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = read_search()
    assert config.fallback_data_dir == tmp_path / "data"
    assert config.model_cache == tmp_path / "allocator"


def test_help_groups_options_and_gives_defaults() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "allocator.search", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for words in ("search:", "data:", "training:", "study:", "(default: minilm)", "exit status"):
        assert words in done.stdout
    flags = (
        "--budget --task --model --space --targets --trials --verdict-seeds --decide-by --timeout "
        "--limit "
        "--study --studies-dir --storage --data-dir --data-source --select-on --slots --devices "
        "--ray --precision --sampler --pruner --prior --prior-strength --start --dry-run --quiet"
    )
    assert all(flag in done.stdout for flag in [*flags.split(), *map(make_flag, FIELDS)])
