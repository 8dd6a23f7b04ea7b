"""The README's examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from allocator.adapters.saved import load_adapter
from allocator.files.recipe import Recipe
from allocator.files.yaml_files import write_yaml

README = Path(__file__).parents[1] / "README.md"


def list_examples() -> list[str]:
    section = README.read_text(encoding="utf-8").split("## In Python")[1]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_search_in_python_returns_what_the_example_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, _ = list_examples()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example, str(README), "exec"), names)
    result = names["result"]
    assert result.recipe.num_parameters <= 20_000
    assert "choice" in set(result.table["allocation"])
    assert result.report == Path("studies/agreement-minilm-20000/report.html")
    assert len(result.study.trials) == 3
    assert result.model.config.id2label == {0: "right", 1: "wrong"}


@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")
def test_the_example_in_python_trains_saves_and_merges(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, example = list_examples()
    (folder,) = re.findall(r'read_recipe\("(.*)/best.yaml"\)', example)
    (tmp_path / folder).mkdir(parents=True)
    write_yaml(tmp_path / folder / "best.yaml", tiny_recipe, "A recipe.")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(README), "exec"), {})
    assert load_adapter(Path("adapter.safetensors")).adapter.zero_part.detach().any()
    merged = AutoModelForSequenceClassification.from_pretrained("merged")
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_recipe.model.name)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(merged.get_parameter(name), plain.get_parameter(name))
