"""The README's example runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from allocator.adapters.saved import load_adapter
from allocator.files.recipe import Recipe
from allocator.files.yaml_files import write_yaml

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")
def test_the_example_in_python_trains_saves_and_merges(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = README.read_text(encoding="utf-8").split("## In Python")[1]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert example is not None
    (folder,) = re.findall(r'read_recipe\("(.*)/best.yaml"\)', example[1])
    (tmp_path / folder).mkdir(parents=True)
    write_yaml(tmp_path / folder / "best.yaml", tiny_recipe, "A recipe.")
    monkeypatch.chdir(tmp_path)
    exec(compile(example[1], str(README), "exec"), {})
    assert load_adapter(Path("adapter.safetensors")).adapter.zero_part.detach().any()
    merged = AutoModelForSequenceClassification.from_pretrained("merged")
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_recipe.model.name)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(merged.get_parameter(name), plain.get_parameter(name))
