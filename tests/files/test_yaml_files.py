"""YAML that people write, and what they are told of their slips."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, model_validator

from allocator.errors import SpaceError
from allocator.files.yaml_files import read_yaml, write_yaml


@dataclass(frozen=True, kw_only=True)
class Oven:
    degrees: int = 180


class Slice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int
    crust: bool = True


class Bread(BaseModel):
    model_config = ConfigDict(extra="forbid")

    flour: str = "rye"
    oven: Oven = Oven()
    slices: dict[str, Slice | float] = {}
    halves: list[Slice] = []

    @model_validator(mode="after")
    def _is_baked(self) -> Bread:
        if self.oven.degrees < 100:
            raise ValueError("bread must be baked at 100 degrees or more")
        return self


Mistake = Callable[[str], str]


@pytest.fixture
def mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mistake:
    """Read a text as the file `bread.yaml`, and return the message that it gets."""
    monkeypatch.chdir(tmp_path)

    def read(text: str) -> str:
        Path("bread.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(SpaceError) as error:
            read_yaml(Path("bread.yaml"), Bread, error=SpaceError)
        return str(error.value)

    return read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "flower: rye",
            "unknown key 'flower': did you mean 'flour'? known are flour, halves, oven",
        ),
        (
            "oven: {degres: 200}",
            "oven: unknown key 'degres': did you mean 'degrees'? known are deg",
        ),
        (
            "slices: {first: {widht: 3}}",
            "slices.first: unknown key 'widht': did you mean 'width'? known are crust, width",
        ),
        (
            "halves: [{width: 3}, {width: 4, crumb: yes}]",
            "halves.1: unknown key 'crumb': did you mean 'crust'? known are crust, width",
        ),
    ],
)
def test_an_unknown_key_is_named_where_it_stands_with_the_nearest(
    text: str, message: str, mistake: Mistake
) -> None:
    assert mistake(text).startswith(f"bread.yaml: {message}")


def test_a_wrong_value_is_named_where_it_stands(mistake: Mistake) -> None:
    message = "bread.yaml: halves.0.width: Input should be a valid integer, unable to parse string"
    assert mistake("halves: [{width: much}]").startswith(message)


def test_a_rule_of_the_whole_file_is_said_without_a_key(mistake: Mistake) -> None:
    assert re.match(r"bread\.yaml: Value error, bread must be baked", mistake("oven: {degrees: 9}"))


@pytest.mark.parametrize(
    "text",
    [
        "flour: 2020-13-45",
        "flour: 0b_",
        f"flour: {'9' * 5_000}",
        "flour: !!bool perhaps",
        "flour: !!timestamp never",
        f"halves: {'[' * 5_000}",
    ],
)
def test_what_yaml_itself_cannot_hold_is_one_line(text: str, mistake: Mistake) -> None:
    assert re.fullmatch("bread.yaml is not YAML: .+", mistake(text))


@pytest.mark.parametrize("text", [f"flour: [{'9, ' * 5_000}]", f"flour: 0x{'f' * 5_000}"])
def test_of_a_long_value_a_message_shows_the_beginning(text: str, mistake: Mistake) -> None:
    assert len(mistake(text)) < 400


def test_a_missing_file_is_named_with_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(SpaceError, match=rf"^space file {re.escape(str(path))} does not exist$"):
        read_yaml(path, Bread, error=SpaceError, what="space file ")


def test_a_written_model_comes_back_under_its_comment(tmp_path: Path) -> None:
    path = tmp_path / "bread.yaml"
    bread = Bread(flour="Weizen, größer", slices={"first": Slice(width=3)})
    write_yaml(path, bread, "For people.\nTwo lines.")
    assert path.read_text(encoding="utf-8").startswith("# For people.\n# Two lines.\nflour: Weizen")
    assert read_yaml(path, Bread, error=SpaceError) == bread
