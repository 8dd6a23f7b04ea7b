import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from allocator.adapters import Adapter, AdapterSpec, build_adapter
from allocator.adapters.save import describe, load_adapter, save_adapter
from allocator.allocation import AdapterShape, BackboneShape, Construction, Factorization, Mode
from allocator.config import AdapterConfig
from allocator.errors import CheckpointError

BACKBONE = BackboneShape(d_in=6, heads=2, head_size=2, layers=3, targets=("query", "value"))
NONE: frozenset[Mode] = frozenset()
HEAD = {"classifier.weight": torch.arange(6.0).view(2, 3), "classifier.bias": torch.ones(2)}


def write(
    path: Path,
    construction: Construction = "qkv",
    factorization: Factorization = "tucker",
    full: frozenset[Mode] = NONE,
) -> tuple[AdapterSpec, Adapter]:
    shape = AdapterShape(
        construction=construction, factorization=factorization, backbone=BACKBONE, full_modes=full
    )
    spec = AdapterSpec(
        shape=shape, config=AdapterConfig(scaling=2.5, initialization="kaiming_uniform")
    )
    ranks = dict.fromkeys(shape.rank_names, 2)
    adapter = build_adapter(spec, ranks, seed=7)
    torch.nn.init.normal_(adapter.zero_part)
    save_adapter(path, adapter, HEAD, describe(spec, ranks, "c0ffee"))
    return spec, adapter


def rewrite(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> None:
    save_file(tensors, path, metadata=metadata)


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an intact adapter lies."""
    path = tmp_path / "adapter.safetensors"
    write(path)
    return path


@pytest.mark.parametrize(
    ("construction", "factorization", "full"),
    [
        ("qkv", "tucker", set()),
        ("att_qkv_depth", "tucker", {"heads", "depth"}),
        ("sites", "tucker", {"site"}),
        ("matrix", "matrix", set()),
    ],
)
def test_an_adapter_comes_back_as_it_was_saved(
    construction: Construction, factorization: Factorization, full: set[Mode], tmp_path: Path
) -> None:
    path = tmp_path / "new" / "folder" / "adapter.safetensors"
    spec, adapter = write(path, construction, factorization, frozenset(full))
    saved = load_adapter(path)
    assert saved.description.spec == spec
    assert saved.description.ranks == adapter.ranks
    assert saved.description.model_sha256 == "c0ffee"
    assert saved.adapter.scaling == 2.5
    expected, found = adapter.pairs(), saved.adapter.pairs()
    torch.testing.assert_close(found.a_LTIR, expected.a_LTIR, rtol=0, atol=0)
    torch.testing.assert_close(found.b_LTRO, expected.b_LTRO, rtol=0, atol=0)


def test_the_heads_trained_parameters_come_back_by_name(path: Path) -> None:
    head = load_adapter(path).head
    assert head.keys() == HEAD.keys()
    assert all(torch.equal(head[name], values) for name, values in HEAD.items())


def test_nothing_but_the_file_is_left_in_the_folder(path: Path) -> None:
    write(path, "depth")  # over the first
    assert [child.name for child in path.parent.iterdir()] == ["adapter.safetensors"]
    assert load_adapter(path).description.construction == "depth"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} does not exist$"):
        load_adapter(path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(kept: int, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:kept])
    with pytest.raises(CheckpointError, match=r"is not a readable safetensors file: \S"):
        load_adapter(path)


def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"is not a readable safetensors file: \S"):
        load_adapter(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a readable safetensors file: \S"):
        load_adapter(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_of_somebody_else_are_refused(
    metadata: dict[str, str] | None, path: Path
) -> None:
    rewrite(path, load_file(path), metadata)
    message = f"{path} is not an adapter of the allocator: it lacks its metadata"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_adapter(path)


def test_metadata_that_are_not_json_are_refused(path: Path) -> None:
    rewrite(path, load_file(path), {"allocator": "{"})
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} has damaged metadata: "):
        load_adapter(path)


@pytest.mark.parametrize(
    "change",
    [
        {"construction": "att_everything"},
        {"factorization": "svd"},
        {"surprise": 1},
        {"scaling": "much"},
        {"backbone": {"d_in": 6}},
        {"ranks": {"input": "two", "output": 2, "qkv": 2}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_metadata_that_break_the_schema_are_refused(change: dict[str, object], path: Path) -> None:
    description = json.loads(metadata_of(path)["allocator"]) | change
    rewrite(path, load_file(path), {"allocator": json.dumps(description)})
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} has damaged metadata: "):
        load_adapter(path)


@pytest.mark.parametrize(
    "change",
    [{"construction": "matrix"}, {"ranks": {"input": 2}}, {"full_modes": ["heads"]}],
    ids=lambda change: next(iter(change)),
)
def test_metadata_that_contradict_themselves_are_refused(
    change: dict[str, object], path: Path
) -> None:
    description = json.loads(metadata_of(path)["allocator"]) | change
    rewrite(path, load_file(path), {"allocator": json.dumps(description)})
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} has damaged metadata: "):
        load_adapter(path)


def test_a_missing_tensor_is_refused(path: Path) -> None:
    tensors = load_file(path)
    del tensors["adapter.core"]
    rewrite(path, tensors, metadata_of(path))
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} lacks tensor core$"):
        load_adapter(path)


def test_an_unexpected_tensor_is_refused(path: Path) -> None:
    rewrite(path, load_file(path) | {"adapter.more": torch.ones(2)}, metadata_of(path))
    message = f"{path} has an unexpected tensor more"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_adapter(path)


def test_a_tensor_of_another_shape_is_refused(path: Path) -> None:
    rewrite(path, load_file(path) | {"adapter.core": torch.ones(2, 2)}, metadata_of(path))
    message = f"tensor core of {path} must have shape (3, 1, 2, 2, 2), got (2, 2)"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_adapter(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float, path: Path) -> None:
    tensors = load_file(path)
    tensors["adapter.core"][1, 0, 1, 1, 1] = value
    rewrite(path, tensors, metadata_of(path))
    message = f"tensor core of {path} has values that are not finite"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_adapter(path)


def test_a_missing_tensor_of_the_head_is_refused(path: Path) -> None:
    tensors = load_file(path)
    del tensors["head.classifier.bias"]
    rewrite(path, tensors, metadata_of(path))
    message = f"{path} lacks tensor classifier.bias"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_adapter(path)


def test_an_unexpected_tensor_of_the_head_is_refused(path: Path) -> None:
    rewrite(path, load_file(path) | {"head.more": torch.ones(2)}, metadata_of(path))
    message = f"{path} has an unexpected tensor more"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_adapter(path)


def test_a_tensor_of_the_head_of_another_shape_is_refused(path: Path) -> None:
    rewrite(path, load_file(path) | {"head.classifier.bias": torch.ones(3)}, metadata_of(path))
    message = f"tensor classifier.bias of {path} must have shape (2,), got (3,)"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_adapter(path)


def test_values_of_the_head_that_are_not_finite_are_refused(path: Path) -> None:
    rewrite(
        path,
        load_file(path) | {"head.classifier.bias": torch.tensor([0.0, float("nan")])},
        metadata_of(path),
    )
    message = f"tensor classifier.bias of {path} has values that are not finite"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_adapter(path)
