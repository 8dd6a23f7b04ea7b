"""What a saved adapter says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from allocator.allocation import AdapterShape, BackboneShape, Construction, Factorization, Mode
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.config import AdapterConfig, Initialization

Positive = Annotated[float, Field(gt=0)]


class AdapterDescription(BaseModel):
    """What a saved adapter is, apart from its values; its metadata in the file.

    `trains_pooler` is whether the model's pooler, if it has one, trained with the head;
    `model_sha256` is empty where nobody knows what files the model came from; `head` holds the
    shapes of the head's trained parameters by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    construction: Construction
    factorization: Factorization
    full_modes: tuple[Mode, ...]
    zero_mode: Mode | None = None
    ranks: dict[str, int]
    scaling: float
    initialization: Initialization
    backbone: BackboneShape
    model_sha256: str
    trains_pooler: bool = True
    head: dict[str, tuple[int, ...]] = {}

    @field_validator("backbone")
    @classmethod
    def _is_of_a_model(cls, backbone: BackboneShape) -> BackboneShape:
        for name in ("d_in", "heads", "head_size", "layers"):
            if getattr(backbone, name) < 1:
                raise ValueError(f"{name} must be 1 or more")
        if not backbone.targets:
            raise ValueError("targets must be one or more")
        return backbone

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


def describe(
    spec: AdapterSpec, ranks: Mapping[str, int], model_sha256: str, *, trains_pooler: bool
) -> AdapterDescription:
    """Describe an adapter for its file."""
    return AdapterDescription(
        construction=spec.shape.construction,
        factorization=spec.shape.factorization,
        full_modes=tuple(sorted(spec.shape.full_modes)),
        zero_mode=spec.shape.stated_zero_mode,
        ranks=dict(ranks),
        scaling=spec.config.scaling,
        initialization=spec.config.initialization,
        backbone=spec.shape.backbone,
        model_sha256=model_sha256,
        trains_pooler=trains_pooler,
    )


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AdapterSection(_Section):
    """The adapter, apart from the backbone's numbers."""

    construction: Construction
    factorization: Factorization
    full_modes: tuple[Mode, ...] = ()
    zero_mode: Mode | None = None
    ranks: dict[str, Annotated[int, Field(ge=1)]]
    targets: tuple[str, ...]
    scaling: Positive
    initialization: Initialization

    def spec(self, backbone: BackboneShape) -> AdapterSpec:
        """Place the adapter on a backbone."""
        shape = AdapterShape(
            construction=self.construction,
            factorization=self.factorization,
            backbone=backbone,
            full_modes=frozenset(self.full_modes),
            zero_mode=self.zero_mode,
        )
        config = AdapterConfig(scaling=self.scaling, initialization=self.initialization)
        return AdapterSpec(shape=shape, config=config)
