"""Every architecture that transformers classifies with is exact from search to export, or refused.

`allocator/MODELS.md` lists what becomes of each; `python -m pytest -m slow` on this file checks it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoTokenizer,
    PretrainedConfig,
)

import allocator
from allocator.data.sources import TaskData, load_task
from allocator.errors import ModelError
from allocator.models.classifier import read_backbone_shape
from allocator.models.model_source import ModelSource, locate_model
from allocator.workers.setup import TrainingSetup
from tests.backbone.exact_training import assert_exact, make_setup, train_two
from tests.backbone.tiny_architectures import IMAGE_SIZE, NOT_BUILT, tiny_model
from tests.tiny_images import PROCESSOR

# Where query, key and value are not found.
OTHER_TARGETS = [
    ("query",),
    *((name,) for name in ("Wqkv", "query_key_value", "c_attn", "qkv_proj", "in_proj", "qkv")),
    ("Wq", "Wk", "Wv"),
    ("q_head", "k_head", "v_head"),
    ("queries", "keys", "values"),
    *((name,) for name in ("kv_proj", "q_a_proj", "intermediate.dense", "ff.layer_1")),
    *((name,) for name in ("mlp.fc1", "fc1", "dense1")),
]
ARCHITECTURES = {
    (config.__name__, of_images): config
    for of_images, mapping in (
        (False, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING),
        (True, MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING),
    )
    for config in mapping
}
pytestmark = [
    pytest.mark.slow,
    # PEFT reads an attribute that transformers has renamed.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


@cache
def listed() -> dict[tuple[str, bool], str]:
    """Read the outcome of every architecture from `allocator/MODELS.md`."""
    text = (Path(allocator.__file__).parent / "MODELS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (texts|images) \| (.+?) \|$", text, re.MULTILINE)
    return {(name, reads == "images"): outcome.split(": ")[0] for name, reads, outcome in rows}


def save(config: type[PretrainedConfig], of_images: bool, folder: Path, tokenizer: Path) -> None:
    tokens = AutoTokenizer.from_pretrained(tokenizer)
    model = tiny_model(
        config,
        of_images=of_images,
        vocab_size=len(tokens),
        pad_token_id=tokens.pad_token_id,
    )
    model.save_pretrained(folder)
    if of_images:
        size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        processor = {"image_processor_type": "ViTImageProcessor", "size": size, **PROCESSOR}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    else:
        tokens.save_pretrained(folder)


def prepare_setup(source: ModelSource, data: TaskData) -> TrainingSetup:
    """Prepare the setup of a worker as a search does, with the first targets that the model has."""
    error: ModelError | None = None
    for targets in (("query", "key", "value"), *OTHER_TARGETS):
        try:
            backbone = read_backbone_shape(source, targets)
        except ModelError as problem:
            error = error or problem
            continue
        return make_setup(source, backbone, data)
    assert error is not None
    raise error


def describe_path(setup: TrainingSetup) -> str:
    together = "together" if setup.path.packs else "one at a time"
    return together + (", own attention" if setup.path.own_layers else "")


@pytest.fixture
def data(small_task: TaskData, image_task: Path) -> dict[bool, TaskData]:
    return {False: small_task, True: load_task(str(image_task))}


@pytest.mark.parametrize(
    ("name", "of_images"),
    ARCHITECTURES,
    ids=lambda part: part if isinstance(part, str) else ("texts", "images")[part],
)
def test_an_architecture_is_exact_from_search_to_export_or_refused_in_one_line(
    name: str, of_images: bool, data: dict[bool, TaskData], tiny_roberta: Path, tmp_path: Path
) -> None:
    config = ARCHITECTURES[name, of_images]
    if name in NOT_BUILT:
        result = "not tried"
    else:
        save(config, of_images, tmp_path / "model", tiny_roberta)
        source = locate_model(str(tmp_path / "model"), tmp_path / "cache")
        try:
            setup = prepare_setup(source, data[of_images])
        except ModelError as refusal:
            result = "refused" if "\n" not in str(refusal) else "refused in several lines"
        else:
            for report in train_two(setup, tmp_path):
                assert_exact(setup, report, tmp_path)
            targets = ", ".join(setup.spec.shape.backbone.targets)
            result = f"{describe_path(setup)}; {targets}"
    row = f"| `{config.model_type}` | {'images' if of_images else 'texts'} | {result} |"
    assert listed().get((config.model_type, of_images)) == result, row


def names() -> Iterator[tuple[str, bool]]:
    return ((config.model_type, of_images) for (_, of_images), config in ARCHITECTURES.items())


def test_the_list_names_every_architecture_once() -> None:
    assert sorted(listed()) == sorted(set(names()))
