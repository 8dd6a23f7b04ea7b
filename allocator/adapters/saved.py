"""Trained adapters as safetensors files whose metadata describe them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_blank_adapter
from allocator.errors import CheckpointError, SpaceError
from allocator.files.adapter_section import AdapterDescription
from allocator.files.whole_files import write_whole
from allocator.files.yaml_files import validate_mapping

Item = TypeVar("Item")
Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of tensors by name."""

_ADAPTER, _HEAD = "adapter.", "head."
_FLOATS = ("F64", "F32", "F16", "BF16")
_LARGEST = 2**48  # parameters: a petabyte of float32, far below torch's largest count


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedAdapter:
    """An adapter read from a file.

    Attributes:
        description: Everything about the adapter but its values.
        adapter: The adapter, with its trained values.
        head: Trained parameters of the task head by name.
    """

    description: AdapterDescription
    adapter: Adapter
    head: Mapping[str, Tensor]


def serialize_adapter(
    adapter: Adapter, head: Mapping[str, Tensor], description: AdapterDescription
) -> bytes:
    """Serialize an adapter and the trained parameters of its head to the content of a file."""
    tensors = {_ADAPTER + name: value for name, value in adapter.state_dict().items()}
    tensors |= {_HEAD + name: value for name, value in head.items()}
    shapes = {name: tuple(value.shape) for name, value in head.items()}
    description = description.model_copy(update={"head": shapes})
    return save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={"allocator": description.model_dump_json()},
    )


def save_adapter(
    path: Path, adapter: Adapter, head: Mapping[str, Tensor], description: AdapterDescription
) -> None:
    """Write an adapter and the trained parameters of its head to a file.

    The file appears complete or not at all.
    """
    write_whole(path, serialize_adapter(adapter, head, description))


def load_adapter(path: Path) -> SavedAdapter:
    """Read an adapter that `save_adapter` wrote.

    The description in the file is compared with the names, shapes and types of its tensors before
    any tensor is read, and before memory is allocated for the sizes that it states.

    Raises:
        CheckpointError: If the file is missing, damaged, not an adapter, or lacks tensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            description = _read_description(path, file.metadata() or {})
            adapter = _build_blank(path, description)
            shapes = _read_file_shapes(path, file)
            adapter_shapes = _select_prefixed(shapes, _ADAPTER)
            head_shapes = _select_prefixed(shapes, _HEAD)
            _require_known_prefixes(path, shapes)
            require_shapes(path, adapter_shapes, read_shapes(adapter.state_dict()))
            require_shapes(path, head_shapes, description.head)
            tensors = {name: _convert_values(path, name, file.get_tensor(name)) for name in shapes}
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(f"{path} is not a readable safetensors file: {problem}") from None
    adapter.load_state_dict(_select_prefixed(tensors, _ADAPTER), assign=True)
    return SavedAdapter(
        description=description, adapter=adapter, head=_select_prefixed(tensors, _HEAD)
    )


def require_shapes(path: Path, actual: Shapes, expected: Shapes) -> None:
    """Refuse a file whose tensors are not the expected ones.

    Raises:
        CheckpointError: The message names the first tensor that is missing, unexpected, or of
            another shape.
    """
    for name in sorted(set(expected) | set(actual)):
        if name not in actual or name not in expected:
            state = "lacks" if name not in actual else "has an unexpected"
            raise CheckpointError(f"{path} {state} tensor {name}")
        if actual[name] != expected[name]:
            raise CheckpointError(
                f"tensor {name} of {path} must have shape {expected[name]}, got {actual[name]}"
            )


def read_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of named tensors, as `require_shapes` takes them."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _read_description(path: Path, metadata: Mapping[str, str]) -> AdapterDescription:
    if "allocator" not in metadata:
        raise CheckpointError(f"{path} is not an adapter of the allocator: it lacks its metadata")
    origin = f"{path} has damaged metadata"
    try:
        content = json.loads(metadata["allocator"])
    except (ValueError, RecursionError) as problem:  # ValueError: also a number of too many digits
        raise CheckpointError(f"{origin}: {problem}") from None
    return validate_mapping(content, AdapterDescription, origin=origin, error=CheckpointError)


def _build_blank(path: Path, description: AdapterDescription) -> Adapter:
    """Build the adapter that is described, without values."""
    try:
        spec, ranks = description.spec, description.ranks
        spec.shape.check_ranks(ranks)
        # Counted exactly, before torch sees numbers that may overflow its own counts.
        if spec.shape.num_parameters(ranks) > _LARGEST:
            raise SpaceError("its ranks and backbone make an adapter larger than any file")
        return build_blank_adapter(spec, ranks)
    except SpaceError as problem:
        raise CheckpointError(f"{path} has damaged metadata: {problem}") from None


def _read_file_shapes(path: Path, file: safe_open) -> dict[str, tuple[int, ...]]:
    """Read the shapes of a file's tensors, all of which must hold floating-point numbers."""
    shapes = {}
    for name in file.keys():  # noqa: SIM118  # safe_open cannot be iterated
        tensor = file.get_slice(name)
        if tensor.get_dtype() not in _FLOATS:
            raise CheckpointError(
                f"tensor {_remove_prefix(name)} of {path} must be of {', '.join(_FLOATS)}, "
                f"got {tensor.get_dtype()}"
            )
        shapes[name] = tuple(tensor.get_shape())
    return shapes


def _require_known_prefixes(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if not name.startswith((_ADAPTER, _HEAD)):
            raise CheckpointError(f"{path} has an unexpected tensor {name}")


def _convert_values(path: Path, name: str, tensor: Tensor) -> Tensor:
    """Convert a tensor of a file to float32, which must hold all of its values."""
    values = tensor.to(torch.float32, copy=True)  # a copy: the file may be mapped into memory
    if torch.isfinite(values).all():
        return values
    where = f"tensor {_remove_prefix(name)} of {path}"
    if torch.isfinite(tensor).all():
        raise CheckpointError(f"{where} has values that are too large for float32")
    raise CheckpointError(f"{where} has values that are not finite")


def _select_prefixed(items: Mapping[str, Item], prefix: str) -> dict[str, Item]:
    """Select the items whose names begin with a prefix, by their names without it."""
    return {n.removeprefix(prefix): item for n, item in items.items() if n.startswith(prefix)}


def _remove_prefix(name: str) -> str:
    return name.removeprefix(_ADAPTER).removeprefix(_HEAD)
