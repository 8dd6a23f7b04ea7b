import json
import re
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.adapters.saved import load_adapter, save_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.constructions import BackboneShape, Construction, Mode
from allocator.allocation.factorizations import Factorization
from allocator.config import AdapterConfig
from allocator.errors import CheckpointError
from allocator.files.adapter_section import describe_adapter

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
    save_adapter(path, adapter, HEAD, describe_adapter(spec, ranks, "c0ffee", trains_pooler=True))
    return spec, adapter


def rewrite(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> None:
    save_file(tensors, path, metadata=metadata)


def describe_otherwise(path: Path, change: dict[str, object]) -> None:
    """Change the description in a file, and keep its tensors."""
    description = json.loads(metadata_of(path)["allocator"])
    rewrite(path, load_file(path), {"allocator": json.dumps(description | change)})


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of an undamaged adapter."""
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
    expected, found = adapter.compute_pairs(), saved.adapter.compute_pairs()
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


@pytest.mark.parametrize("metadata", ["{", "3", "[" * 100_000, f'{{"scaling": {"9" * 5_000}}}'])
def test_metadata_that_are_not_json_are_refused(metadata: str, path: Path) -> None:
    rewrite(path, load_file(path), {"allocator": metadata})
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} has damaged metadata: ."):
        load_adapter(path)


@pytest.mark.parametrize(
    "change",
    [
        {"construction": "att_everything"},
        {"factorization": "svd"},
        {"surprise": 1},
        {"scaling": "much"},
        {"scaling": float("inf")},
        {"scaling": float("nan")},
        {"backbone": {"d_in": 6}},
        {"ranks": {"input": "two", "output": 2, "qkv": 2}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_metadata_that_break_the_schema_are_refused(change: dict[str, object], path: Path) -> None:
    describe_otherwise(path, change)
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
    describe_otherwise(path, change)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} has damaged metadata: "):
        load_adapter(path)


# A tensor of the adapter and one of the head, and the names that messages give them.
TENSORS = pytest.mark.parametrize(
    ("key", "name", "shape"),
    [("adapter.core", "core", (3, 1, 2, 2, 2)), ("head.classifier.bias", "classifier.bias", (2,))],
)


@TENSORS
def test_a_missing_tensor_is_refused(
    key: str, name: str, shape: tuple[int, ...], path: Path
) -> None:
    tensors = load_file(path)
    assert tensors.pop(key).shape == shape
    rewrite(path, tensors, metadata_of(path))
    assert refusal(path) == f"{path} lacks tensor {name}"


@pytest.mark.parametrize("part", ["adapter", "head"])
def test_an_unexpected_tensor_is_refused(part: str, path: Path) -> None:
    rewrite(path, load_file(path) | {f"{part}.more": torch.ones(2)}, metadata_of(path))
    assert refusal(path) == f"{path} has an unexpected tensor more"


@TENSORS
def test_a_tensor_of_another_shape_is_refused(
    key: str, name: str, shape: tuple[int, ...], path: Path
) -> None:
    rewrite(path, load_file(path) | {key: torch.ones(2, 3)}, metadata_of(path))
    assert refusal(path) == f"tensor {name} of {path} must have shape {shape}, got (2, 3)"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@TENSORS
def test_values_that_are_not_finite_are_refused(
    value: float, key: str, name: str, shape: tuple[int, ...], path: Path
) -> None:
    tensors = load_file(path)
    assert tensors[key].shape == shape
    tensors[key].flatten()[-1] = value
    rewrite(path, tensors, metadata_of(path))
    assert refusal(path) == f"tensor {name} of {path} has values that are not finite"


BACKBONE_NUMBERS = {
    "d_in": 6,
    "heads": 2,
    "head_size": 2,
    "layers": 3,
    "targets": ["query", "value"],
}
RANKS = {"input": 2, "output": 2, "qkv": 2}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_adapter(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1_000
    return str(error.value)


@pytest.mark.parametrize("factorization", ["tucker", "cp", "tt", "matrix"])
@pytest.mark.parametrize("number", [10**6, 10**9, 10**13, 10**18, 10**30])
@pytest.mark.parametrize("name", ["ranks", "d_in", "heads", "head_size", "layers"])
def test_a_description_of_absurd_size_is_refused_before_anything_is_made_of_that_size(
    name: str, number: int, factorization: Factorization, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.safetensors"
    write(path, "matrix" if factorization == "matrix" else "qkv", factorization)
    ranks = json.loads(metadata_of(path)["allocator"])["ranks"]
    change: dict[str, object] = {"backbone": BACKBONE_NUMBERS | {name: number}}
    if name == "ranks":
        change = {"ranks": dict.fromkeys(ranks, number)}
    describe_otherwise(path, change)
    start = time.monotonic()
    assert re.search("must have shape|larger than any file", refusal(path))
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("construction", ["qkv", "sites"])
def test_a_hundred_thousand_targets_are_refused_at_once(
    construction: Construction, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.safetensors"
    write(path, construction)
    targets = [f"target_{number}" for number in range(100_000)]
    describe_otherwise(
        path, {"backbone": BACKBONE_NUMBERS | {"targets": targets}, "targets": targets}
    )
    start = time.monotonic()
    assert "must have shape" in refusal(path)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("name", ["d_in", "heads", "head_size", "layers"])
@pytest.mark.parametrize("number", [0, -1, -(10**30)])
def test_a_backbone_of_numbers_below_one_is_refused(name: str, number: int, path: Path) -> None:
    describe_otherwise(path, {"backbone": BACKBONE_NUMBERS | {name: number}})
    assert f"has damaged metadata: backbone: Value error, {name} must be 1 or more" in refusal(path)


def test_a_backbone_without_targets_is_refused(path: Path) -> None:
    describe_otherwise(path, {"backbone": BACKBONE_NUMBERS | {"targets": []}})
    assert "targets must be one or more" in refusal(path)


@pytest.mark.parametrize("heads", [[2], [2, 0], [2, -1], [2, 1, 1]])
def test_heads_that_are_not_those_of_every_target_are_refused(heads: list[int], path: Path) -> None:
    describe_otherwise(path, {"backbone": BACKBONE_NUMBERS | {"target_heads": heads}})
    assert "target_heads must be 1 or more for every target, or left out" in refusal(path)


@pytest.mark.parametrize("heads", [[1, 1], [2, 3]])
def test_the_heads_of_a_backbone_are_the_most_of_its_targets(heads: list[int], path: Path) -> None:
    describe_otherwise(path, {"backbone": BACKBONE_NUMBERS | {"target_heads": heads}})
    assert "heads must be the largest of target_heads" in refusal(path)


@pytest.mark.parametrize("rank", [0, -2])
def test_ranks_below_one_are_refused(rank: int, path: Path) -> None:
    describe_otherwise(path, {"ranks": RANKS | {"qkv": rank}})
    assert f"ranks.qkv: Input should be greater than or equal to 1, got {rank}" in refusal(path)


@pytest.mark.parametrize("shape", [[10**18, 10**18], [10**30], [-1], [2, 3, 1]])
def test_a_described_head_of_another_shape_is_refused(shape: list[int], path: Path) -> None:
    head = {"classifier.bias": [2], "classifier.weight": shape}
    describe_otherwise(path, {"head": head})
    assert f"tensor classifier.weight of {path} must have shape" in refusal(path)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.int32, "I32"),
        (torch.uint8, "U8"),
        (torch.bool, "BOOL"),
        (torch.complex64, "C64"),
        (torch.float8_e4m3fn, "F8_E4M3"),
    ],
)
@pytest.mark.parametrize("tensor", ["adapter.core", "head.classifier.bias"])
def test_tensors_that_are_no_plain_real_numbers_are_refused(
    tensor: str, dtype: torch.dtype, name: str, path: Path
) -> None:
    tensors = load_file(path)
    rewrite(path, tensors | {tensor: tensors[tensor].to(dtype)}, metadata_of(path))
    shown = tensor.removeprefix("adapter.").removeprefix("head.")
    message = f"tensor {shown} of {path} must be of F64, F32, F16, BF16, got {name}"
    assert refusal(path) == message


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_read_as_float32(dtype: torch.dtype, path: Path) -> None:
    tensors = {name: value.to(dtype) for name, value in load_file(path).items()}
    rewrite(path, tensors, metadata_of(path))
    saved = load_adapter(path)
    assert {p.dtype for p in saved.adapter.parameters()} == {torch.float32}
    assert {value.dtype for value in saved.head.values()} == {torch.float32}
    torch.testing.assert_close(
        saved.adapter.zero_part.detach(), tensors["adapter.core"].float(), rtol=0, atol=0
    )


@pytest.mark.parametrize("tensor", ["adapter.core", "head.classifier.bias"])
def test_values_that_float32_cannot_hold_are_refused(tensor: str, path: Path) -> None:
    tensors = load_file(path)
    large = tensors[tensor].double()
    large.view(-1)[0] = 1e39
    rewrite(path, tensors | {tensor: large}, metadata_of(path))
    assert refusal(path).endswith("has values that are too large for float32")


def test_a_tensor_that_belongs_neither_to_adapter_nor_head_is_refused(path: Path) -> None:
    rewrite(path, load_file(path) | {"core": torch.ones(2)}, metadata_of(path))
    assert refusal(path) == f"{path} has an unexpected tensor core"


def test_what_is_read_trains_and_belongs_to_no_file(path: Path) -> None:
    saved = load_adapter(path)
    assert all(parameter.requires_grad for parameter in saved.adapter.parameters())
    before = {name: value.clone() for name, value in saved.adapter.state_dict().items()}
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    torch.testing.assert_close(dict(saved.adapter.state_dict()), before, rtol=0, atol=0)
