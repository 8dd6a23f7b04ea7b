"""Trained adapters as safetensors files that say what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import AdapterSpec, build_adapter
from allocator.allocation import AdapterShape, BackboneShape, Construction, Factorization, Mode
from allocator.config import AdapterConfig, Initialization
from allocator.errors import CheckpointError, SpaceError
from allocator.whole_files import write_whole

_ADAPTER, _HEAD = "adapter.", "head."


class AdapterDescription(BaseModel):
    """What a saved adapter is, apart from its values; its metadata in the file.

    `model_sha256` is empty where nobody knows what files the model came from; `head` holds the
    shapes of the head's trained parameters by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    construction: Construction
    factorization: Factorization
    full_modes: tuple[Mode, ...]
    zero_mode: Mode | None = None
    ranks: dict[str, int]
    scaling: float
    initialization: Initialization
    backbone: BackboneShape
    model_sha256: str
    head: dict[str, tuple[int, ...]] = {}

    @property
    def spec(self) -> AdapterSpec:
        """The description as what `build_adapter` takes."""
        shape = AdapterShape(
            construction=self.construction,
            factorization=self.factorization,
            backbone=self.backbone,
            full_modes=frozenset(self.full_modes),
            zero_mode=self.zero_mode,
        )
        config = AdapterConfig(scaling=self.scaling, initialization=self.initialization)
        return AdapterSpec(shape=shape, config=config)


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedAdapter:
    """An adapter read from a file.

    Attributes:
        description: What it is.
        adapter: The adapter, with its trained values.
        head: Trained parameters of the task head by name.
    """

    description: AdapterDescription
    adapter: Adapter
    head: Mapping[str, Tensor]


def describe(spec: AdapterSpec, ranks: Mapping[str, int], model_sha256: str) -> AdapterDescription:
    """Describe an adapter for its file."""
    return AdapterDescription(
        construction=spec.shape.construction,
        factorization=spec.shape.factorization,
        full_modes=tuple(sorted(spec.shape.full_modes)),
        zero_mode=spec.shape.zero_mode,
        ranks=dict(ranks),
        scaling=spec.config.scaling,
        initialization=spec.config.initialization,
        backbone=spec.shape.backbone,
        model_sha256=model_sha256,
    )


def serialize(
    adapter: Adapter, head: Mapping[str, Tensor], description: AdapterDescription
) -> bytes:
    """Turn an adapter and the trained parameters of its head into the content of a file."""
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
    """Write an adapter and the trained parameters of its head; the file appears whole or not."""
    write_whole(path, serialize(adapter, head, description))


def load_adapter(path: Path) -> SavedAdapter:
    """Read an adapter that `save_adapter` wrote.

    Raises:
        CheckpointError: If the file is missing, damaged, not an adapter, or lacks tensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(f"{path} is not a readable safetensors file: {problem}") from None
    if "allocator" not in metadata:
        raise CheckpointError(f"{path} is not an adapter of the allocator: it lacks its metadata")
    try:
        description = AdapterDescription.model_validate(json.loads(metadata["allocator"]))
        adapter = build_adapter(description.spec, description.ranks, seed=0)
    except (json.JSONDecodeError, ValidationError, SpaceError) as problem:
        reason = str(problem).splitlines()[0]
        raise CheckpointError(f"{path} has damaged metadata: {reason}") from None
    adapter.load_state_dict(_checked(path, tensors, _ADAPTER, adapter.state_dict()))
    recorded = {n: torch.empty(shape, device="meta") for n, shape in description.head.items()}
    head = _checked(path, tensors, _HEAD, recorded)
    return SavedAdapter(description=description, adapter=adapter, head=head)


def require_shapes(
    path: Path, values: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Refuse tensors of a file that are not those expected.

    Raises:
        CheckpointError: Naming the first that is missing, unexpected, or of another shape.
    """
    for name in sorted(set(expected) | set(values)):
        if name not in values or name not in expected:
            state = "lacks" if name not in values else "has an unexpected"
            raise CheckpointError(f"{path} {state} tensor {name}")
        if values[name].shape != expected[name].shape:
            raise CheckpointError(
                f"tensor {name} of {path} must have shape {tuple(expected[name].shape)}, "
                f"got {tuple(values[name].shape)}"
            )


def _checked(
    path: Path, tensors: Mapping[str, Tensor], part: str, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Take one part of a file's tensors, complete, of the right shapes, and finite."""
    values = {n.removeprefix(part): v for n, v in tensors.items() if n.startswith(part)}
    require_shapes(path, values, expected)
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"tensor {name} of {path} has values that are not finite")
    return values
