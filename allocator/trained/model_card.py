"""The model card of an export, for people who find the folder without its study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml

from allocator.data.scoring.metric_names import describe_metric
from allocator.files.recipe import Recipe, TaskSection

_LOAD_LORA = """\
from peft import PeftModel
from transformers import {model_class}, {preprocessor_class}

base = {model_class}.from_pretrained(
    "{base}",
{options})
model = PeftModel.from_pretrained(base, "{place}")
preprocessor = {preprocessor_class}.from_pretrained("{place}")
logits = model(**preprocessor({inputs}, return_tensors="pt")).logits"""

_LOAD_MERGED = """\
from transformers import pipeline

classify = pipeline("{pipeline}", "{place}"{answers})
classify({example})"""

_LOAD_ADAPTER = """\
from pathlib import Path

from allocator import attach_saved, load_model, read_recipe
from huggingface_hub import snapshot_download

folder = Path(snapshot_download("{place}"))
model = load_model(read_recipe(folder / "best.yaml"))
attach_saved(model, folder / "adapter.safetensors")"""

Holds = Literal["peft", "merged", "adapter"]
"""What stands beside a card: a LoRA, a whole model, or an adapter as a study has it."""

_LIBRARIES: dict[Holds, str] = {"peft": "peft", "merged": "transformers", "adapter": "allocator"}
_KINDS: dict[Holds, str] = {
    "peft": "A LoRA that is exactly",
    "merged": "A model that is merged with",
    "adapter": "The weights of",
}


def write_model_card(
    recipe: Recipe,
    base_model: str,
    *,
    holds: Holds,
    options: Mapping[str, object],
    repository: str | None = None,
) -> str:
    """Write a model card in the hub's format: a YAML header, a table and how to load the model.

    Args:
        recipe: The recipe of the adapter, with its scores.
        base_model: Id or folder of the pretrained model.
        holds: What stands beside the card.
        options: Keyword arguments with which the pretrained model must be loaded before the LoRA is
            put on it.
        repository: Id of the repository on the hub that the card is for, if it is for one.

    Returns:
        The text of the card.
    """
    adapter, task = recipe.adapter, recipe.task
    # A script of the user's own is its path, which means nothing elsewhere.
    metric = describe_metric(task.metric)
    of_images = not task.text_columns
    pipeline = "image-classification" if of_images else "text-classification"
    header: dict[str, object] = {
        "library_name": _LIBRARIES[holds],
        "base_model": base_model,
        "pipeline_tag": pipeline,
        "tags": ["lora", "allocator"] if holds == "peft" else ["allocator"],
        "metrics": [metric],
    }
    if repository is not None and Path(base_model).is_dir():
        del header["base_model"]  # the hub refuses what is no id
    ranks = ", ".join(f"{name} {rank}" for name, rank in adapter.ranks.items())
    load = {"peft": _LOAD_LORA, "merged": _LOAD_MERGED, "adapter": _LOAD_ADAPTER}[holds].format(
        place=repository or "path/to/this/folder",
        base=base_model,
        options="".join(f"    {name}={value!r},\n" for name, value in options.items()),
        pipeline=pipeline,
        answers=("" if of_images else ", truncation=True")
        # Of several labels, not only the likeliest.
        + (", top_k=None" if task.is_multi_label else ""),
        example=_write_example(task),
        inputs=_write_inputs(task),
        model_class=f"AutoModelFor{'Image' if of_images else 'Sequence'}Classification",
        preprocessor_class="AutoImageProcessor" if of_images else "AutoTokenizer",
    )
    # Of the data's source only the kind is named, because its path means nothing elsewhere.
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# {recipe.study.get("name", task.name)}

{_KINDS[holds]} a trained tensor adapter of {base_model} on {task.name}.

| | |
|---|---|
| base model | {base_model}, sha256 of its weights {recipe.model.sha256} |
| task | {task.name}, data from {task.source.split(":", 1)[0]} |
| {metric} | {_describe_score(recipe)} |
| adapter | {adapter.construction}, {adapter.factorization}, on {", ".join(adapter.targets)} |
| ranks | {ranks} |
| parameters | {recipe.num_parameters:,} of a budget of {recipe.budget:,}, the head not counted |
{_describe_threshold(recipe)}
```python
{load}
```
"""


def _write_example(task: TaskSection) -> str:
    """Write what a pipeline is called with."""
    if not task.text_columns:
        return '"photo.jpg"'
    if len(task.text_columns) == 1:
        return '"A text."'
    return '{"text": "A text.", "text_pair": "Another."}'


def _write_inputs(task: TaskSection) -> str:
    """Write what a tokenizer or an image processor is called with."""
    if not task.text_columns:
        return "image"
    texts = ['"A text."', '"Another."'][: len(task.text_columns)]
    return ", ".join([*texts, "truncation=True"])


def _describe_score(recipe: Recipe) -> str:
    scores = recipe.scores
    if isinstance(proved := scores.get("dev_score"), float):
        seeds = scores.get("verdict_seeds")
        told = f"{proved:.4f} on dev, mean over {seeds} {'seed' if seeds == 1 else 'seeds'}"
        if scores.get("scored_on") == "dev":
            return f"{told}; the choice was made on dev too, so it is optimistic"
        return f"{told} that the choice was not made by"
    score, split = scores.get("score"), str(scores.get("scored_on", "unknown data"))
    if not isinstance(score, float):
        return "not recorded"
    return f"{score:.4f} on {split.replace('_', ' ')}, by which it was chosen: not proved"


def _describe_threshold(recipe: Recipe) -> str:
    """Describe where the second of two classes is to be answered; empty for the likelier class."""
    threshold, labels = recipe.training.decision_threshold, recipe.task.labels
    if not threshold:
        return ""
    # The probability of the second class at that margin of the logits.
    probability = 1 / (1 + math.exp(-threshold))
    return f"| decision | {labels[1]} from a probability of {probability:.3f} on |\n"
