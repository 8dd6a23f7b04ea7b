"""An adapter as data, in recipes, saved adapters and lists of allocations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape, Construction, Mode
from allocator.allocation.factorizations import Factorization
from allocator.config import AdapterConfig, Config, Initialization

Positive = Annotated[float, Field(gt=0)]


class AdapterSection(Config):
    """An adapter's description, without the backbone's sizes and the trained values."""

    construction: Construction
    factorization: Factorization
    full_modes: tuple[Mode, ...] = ()
    zero_mode: Mode | None = None
    ranks: dict[str, Annotated[int, Field(ge=1)]]
    targets: tuple[str, ...]
    scaling: Positive
    initialization: Initialization

    @classmethod
    def from_spec(cls, spec: AdapterSpec, ranks: Mapping[str, int]) -> Self:
        """Describe an adapter; `to_spec` on the same backbone returns its specification."""
        shape = spec.shape
        return cls(
            construction=shape.construction,
            factorization=shape.factorization,
            # Sorted, because a set has no order and files of equal adapters are to be equal.
            full_modes=tuple(sorted(shape.full_modes)),
            zero_mode=shape.stated_zero_mode,
            ranks=dict(ranks),
            targets=shape.backbone.targets,
            scaling=spec.config.scaling,
            initialization=spec.config.initialization,
        )

    def to_spec(self, backbone: BackboneShape) -> AdapterSpec:
        """Return the adapter's specification on a backbone.

        Raises:
            SpaceError: If construction, factorization and modes are not compatible.
        """
        shape = AdapterShape(
            construction=self.construction,
            factorization=self.factorization,
            backbone=backbone,
            full_modes=frozenset(self.full_modes),
            zero_mode=self.zero_mode,
        )
        config = AdapterConfig(scaling=self.scaling, initialization=self.initialization)
        return AdapterSpec(shape=shape, config=config)


class RatesSection(Config):
    """The learning rates of an allocation."""

    learning_rate: Positive
    core_lr_multiplier: Positive
    lr_multipliers: dict[str, Positive] = Field(default_factory=dict)


class ListedAllocation(RatesSection):
    """One allocation of a list: its adapter, its size and its rates.

    `head_learning_rate` and `dropout` are None if the training configuration's values apply.
    """

    adapter: AdapterSection
    num_parameters: int
    head_learning_rate: Positive | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None

    @classmethod
    def from_allocation(cls, spec: AdapterSpec, allocation: Allocation) -> Self:
        """Describe an allocation on an adapter's specification."""
        return cls(
            adapter=AdapterSection.from_spec(spec, allocation.ranks),
            num_parameters=spec.shape.num_parameters(allocation.ranks),
            learning_rate=allocation.learning_rate,
            core_lr_multiplier=allocation.core_lr_multiplier,
            lr_multipliers=dict(allocation.lr_multipliers),
            head_learning_rate=allocation.head_learning_rate,
            dropout=allocation.dropout,
        )

    @property
    def allocation(self) -> Allocation:
        """The ranks and rates to train with."""
        return Allocation(
            ranks=self.adapter.ranks,
            learning_rate=self.learning_rate,
            core_lr_multiplier=self.core_lr_multiplier,
            lr_multipliers=self.lr_multipliers,
            head_learning_rate=self.head_learning_rate,
            dropout=self.dropout,
        )


class AdapterDescription(AdapterSection):
    """A saved adapter's metadata: the adapter and its backbone, without values.

    `trains_pooler` is whether the model's pooler, if it has one, trained with the head;
    `model_sha256` is empty if the model's files are not known; `head` holds the shapes of the
    head's trained parameters by name.
    """

    backbone: BackboneShape
    model_sha256: str
    trains_pooler: bool = True
    head: dict[str, tuple[int, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_targets(cls, content: object) -> object:
        """Use the targets of the backbone if a file does not repeat them."""
        backbone = content.get("backbone") if isinstance(content, dict) else None
        if isinstance(backbone, dict) and isinstance(content, dict) and "targets" in backbone:
            return {"targets": backbone["targets"], **content}
        return content

    @field_validator("backbone")
    @classmethod
    def _require_sizes(cls, backbone: BackboneShape) -> BackboneShape:
        # A file from elsewhere may say anything, and pydantic knows no bounds of a plain dataclass.
        for name in ("d_in", "heads", "head_size", "layers"):
            if getattr(backbone, name) < 1:
                raise ValueError(f"{name} must be 1 or more")
        if not backbone.targets:
            raise ValueError("targets must be one or more")
        heads = backbone.target_heads
        if heads and (len(heads) != len(backbone.targets) or min(heads) < 1):
            raise ValueError("target_heads must be 1 or more for every target, or left out")
        if heads and max(heads) != backbone.heads:
            raise ValueError("heads must be the largest of target_heads")
        return backbone

    @model_validator(mode="after")
    def _require_same_targets(self) -> Self:
        if self.targets != self.backbone.targets:
            raise ValueError("targets of adapter and backbone must be the same")
        return self

    @property
    def spec(self) -> AdapterSpec:
        """The adapter's specification on its backbone."""
        return self.to_spec(self.backbone)


def describe_adapter(
    spec: AdapterSpec, ranks: Mapping[str, int], model_sha256: str, *, trains_pooler: bool
) -> AdapterDescription:
    """Describe an adapter for its file."""
    # `head` is left to `serialize_adapter`, which has its tensors.
    return AdapterDescription(
        **dict(AdapterSection.from_spec(spec, ranks)),
        backbone=spec.shape.backbone,
        model_sha256=model_sha256,
        trains_pooler=trains_pooler,
    )
