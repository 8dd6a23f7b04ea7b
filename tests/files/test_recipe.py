"""Recipes: written for people, read with every slip worded."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.config import AdapterConfig, Calibration, TrainingConfig
from allocator.errors import CheckpointError
from allocator.files.adapter_section import AdapterSection
from allocator.files.recipe import ModelSection, Recipe, TaskSection, TrainingSection, read_recipe
from allocator.files.study_folder import RECIPE_FILE
from allocator.files.yaml_files import write_yaml

BACKBONE = BackboneShape(d_in=32, heads=4, head_size=8, layers=2, targets=("query", "value"))
ALLOCATION = Allocation(
    ranks={"input": 4, "output": 3},
    learning_rate=1.25e-3,
    core_lr_multiplier=7.5,
    lr_multipliers={"input": 0.5},
)
CONFIG = TrainingConfig(
    epochs=3, batch_size=16, boundaries_per_epoch=2, weight_decay=0.0, dropout=0.1, seed=11
)
RECIPE = Recipe(
    budget=40_000,
    num_parameters=1_234,
    model=ModelSection(name="minilm", sha256="c0ffee"),
    task=TaskSection(
        name="cola",
        text_columns=("sentence",),
        labels=("0", "1"),
        source="dir:/data",
        fingerprint="0123",
        metric="matthews_correlation",
    ),
    adapter=AdapterSection(
        construction="sites",
        factorization="tucker",
        full_modes=("site",),
        ranks=dict(ALLOCATION.ranks),
        targets=("query", "value"),
        scaling=2.0,
        initialization="normal",
    ),
    training=TrainingSection.join(ALLOCATION, CONFIG, "bfloat16", trains_pooler=False),
    scores={"held_out": 0.5, "trials": 3, "winner": "größer"},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an intact recipe lies."""
    path = tmp_path / RECIPE_FILE
    write_yaml(path, RECIPE, "Two lines\nof comment.")
    return path


def change(path: Path, section: str | None, key: str, value: object) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    (content if section is None else content[section])[key] = value
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_a_recipe_comes_back_as_it_was_written(path: Path) -> None:
    assert read_recipe(path) == RECIPE


def test_a_calibration_comes_back_as_it_was_written(path: Path) -> None:
    calibration = Calibration(scale=0.61, intercept=-0.25)
    section = TrainingSection.join(
        ALLOCATION, CONFIG, "float32", trains_pooler=True, calibration=calibration
    )
    write_yaml(path, RECIPE.model_copy(update={"training": section}), "Calibrated.")
    assert read_recipe(path).training.calibration == calibration
    assert read_recipe(path).training.config == CONFIG


def test_a_recipe_that_says_nothing_of_a_calibration_has_none(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    del content["training"]["calibration"]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert read_recipe(path).training.calibration is None


def test_a_calibration_without_a_scale_above_zero_is_refused(path: Path) -> None:
    change(path, "training", "calibration", {"scale": 0.0, "intercept": 0.0})
    message = r"best\.yaml: training\.calibration\.scale: .* greater than 0, got 0\.0$"
    with pytest.raises(CheckpointError, match=message):
        read_recipe(path)
    change(path, "training", "calibration", {"scale": 1.0, "intercepts": 0.0})
    message = r"training\.calibration: unknown key 'intercepts': did you mean 'intercept'\?"
    with pytest.raises(CheckpointError, match=message):
        read_recipe(path)


def test_a_recipe_holds_the_allocation_and_the_configuration_it_was_made_of(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.make_allocation() == dataclasses.replace(
        ALLOCATION, head_learning_rate=CONFIG.head_learning_rate, dropout=CONFIG.dropout
    )
    assert recipe.training.config == CONFIG
    assert recipe.training.precision == "bfloat16"


def test_what_an_allocation_chose_itself_stands_in_place_of_the_shared_configuration() -> None:
    chosen = dataclasses.replace(ALLOCATION, head_learning_rate=3e-4, dropout=0.25)
    section = TrainingSection.join(chosen, CONFIG, "float32", trains_pooler=True)
    recipe = RECIPE.model_copy(update={"training": section})
    assert recipe.make_allocation() == chosen
    own = {"head_learning_rate": 3e-4, "dropout": 0.25}
    assert section.config == CONFIG.model_copy(update=own)


def test_a_recipes_adapter_is_placed_on_a_backbone(path: Path) -> None:
    shape = AdapterShape(
        construction="sites",
        factorization="tucker",
        backbone=BACKBONE,
        full_modes=frozenset({"site"}),
    )
    config = AdapterConfig(scaling=2.0, initialization="normal")
    assert read_recipe(path).adapter.to_spec(BACKBONE) == AdapterSpec(shape=shape, config=config)


def test_a_recipe_is_for_people_comment_first_and_in_order(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:4] == ["# Two lines", "# of comment.", "budget: 40000", "num_parameters: 1234"]
    assert "  winner: größer" in lines


def test_nothing_but_the_recipe_is_left_in_its_folder(path: Path) -> None:
    write_yaml(path, RECIPE, "Again.")
    assert [child.name for child in path.parent.iterdir()] == [RECIPE_FILE]


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} does not exist$"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("content", "kind"), [("- a\n- b\n", "list"), ("", "NoneType"), ("word", "str")]
)
def test_a_recipe_that_is_not_a_mapping_is_refused(content: str, kind: str, path: Path) -> None:
    path.write_text(content)
    message = f"{path} must be a YAML mapping, got {kind}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read_recipe(path)


@pytest.mark.parametrize("content", ["a: [", "a: b: c", "!!python/object/apply:os.getcwd []"])
def test_a_recipe_that_is_not_plain_yaml_is_refused(content: str, path: Path) -> None:
    path.write_text(content)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} is not YAML: .*$"):
        read_recipe(path)


def test_a_recipe_that_is_not_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00budget")
    message = f"{path} is not text in UTF-8"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read_recipe(path)


def test_an_unknown_key_is_refused_with_the_nearest_one(path: Path) -> None:
    change(path, None, "bugdet", 3)
    message = f"{path}: unknown key 'bugdet': did you mean 'budget'? known are adapter, budget,"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        read_recipe(path)


def test_an_unknown_key_of_a_section_is_refused_with_the_sections_nearest(path: Path) -> None:
    change(path, "training", "learning_rates", 3)
    message = (
        f"{path}: training: unknown key 'learning_rates': did you mean 'learning_rate'? "
        "known are batch_size, boundaries_per_epoch,"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        read_recipe(path)


def test_a_missing_section_is_refused_by_name(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    del content["adapter"]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=r"best\.yaml: adapter: Field required"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "learning_rate", 0),
        ("training", "epochs", 0),
        ("training", "warmup", 1.0),
        ("training", "dropout", -0.1),
        ("training", "precision", "float16"),
        ("training", "optimizer", "sgd"),
        ("adapter", "construction", "everything"),
        ("adapter", "scaling", -1),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_key_and_value(
    section: str, key: str, value: object, path: Path
) -> None:
    change(path, section, key, value)
    message = rf"best\.yaml: {section}\.{key}: .*, got {re.escape(repr(value))}$"
    with pytest.raises(CheckpointError, match=message):
        read_recipe(path)


def test_a_rank_below_one_is_refused_by_its_mode(path: Path) -> None:
    change(path, "adapter", "ranks", {"input": 0, "output": 3})
    with pytest.raises(CheckpointError, match=r"adapter\.ranks\.input: .*, got 0$"):
        read_recipe(path)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(
    "keys",
    [
        *(
            ("training", key)
            for key in ("learning_rate", "head_learning_rate", "weight_decay", "warmup", "dropout")
        ),
        ("training", "lr_multipliers", "input"),
        ("training", "epochs"),
        ("adapter", "scaling"),
        ("adapter", "ranks", "input"),
        ("scores", "held_out"),
        ("budget",),
    ],
)
def test_a_number_that_is_not_finite_is_refused(
    keys: tuple[str, ...], value: str, path: Path
) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    section = content
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = float(value)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    message = f"{path}: {'.'.join(keys)}: Input should be a finite number, got {value}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read_recipe(path)


def test_a_seed_beyond_32_bits_is_refused(path: Path) -> None:
    content = path.read_text(encoding="utf-8").replace("seed: 11", f"seed: {2**32}")
    path.write_text(content, encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"training\.seed: .* less than 4294967296, got 42949"
    ):
        read_recipe(path)
