"""Finds the projections of a transformer that adapters update, and attaches to them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from allocator.adapters.adapter import Pairs
from allocator.allocation import BackboneShape
from allocator.errors import ModelError

# What the libraries' encoders call the projections of attention.
PROJECTION_NAMES = {
    "query": ("query", "q", "q_lin", "q_proj"),
    "key": ("key", "k", "k_lin", "k_proj"),
    "value": ("value", "v", "v_lin", "v_proj"),
}


class AdaptedLinear(nn.Module):
    """A frozen projection with a low-rank update beside it: `x W^T + b + (x A) B`.

    Args:
        base: The projection, which keeps its own weights.
    """

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.pair: tuple[Tensor, Tensor] | None = None
        self.dropout = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Project x of shape (..., I) to (..., O)."""
        y = self.base(x)
        if self.pair is None:
            return y
        a_IR, b_RO = self.pair
        if self.dropout and self.training:
            x = F.dropout(x, self.dropout)
        down_NR = x.flatten(0, -2) @ a_IR
        return y.flatten(0, -2).addmm(down_NR, b_RO).view_as(y)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sites:
    """The adapted projections of one model, by layer and target."""

    shape: BackboneShape
    modules: Sequence[Sequence[AdaptedLinear]]

    def use(self, pairs: Pairs | None) -> None:
        """Let the following forward passes add these updates, or none."""
        a = b = None
        if pairs is not None:
            weight = self.modules[0][0].base.weight
            a = pairs.a_LTIR.to(weight.dtype)
            b = pairs.b_LTRO.to(weight.dtype)
        for layer, targets in enumerate(self.modules):
            for target, module in enumerate(targets):
                module.pair = (
                    None
                    if a is None or b is None
                    else Pairs(a_LTIR=a, b_LTRO=b).site(layer, target)
                )


def find_projections(model: nn.Module, targets: Sequence[str]) -> list[list[tuple[str, nn.Linear]]]:
    """Find the adapted projections, by layer and target.

    A target is `query`, `key`, `value`, or the last part of a linear layer's name in the model.

    Raises:
        ModelError: If a target is missing in some layer; lists the linear layers that there are.
    """
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    layers: dict[int, dict[str, tuple[str, nn.Linear]]] = defaultdict(dict)
    for name, module in linears.items():
        number = re.search(r"\.(\d+)\.", name)
        for target in targets:
            if number and name.rsplit(".", 1)[-1] in PROJECTION_NAMES.get(target, (target,)):
                layers[int(number[1])][target] = (name, module)
    found = [layers[number] for number in sorted(layers)]
    missing = [t for t in targets if not found or any(t not in layer for layer in found)]
    if missing:
        kinds = sorted({re.sub(r"\d+", "*", name) for name in linears})
        raise ModelError(
            f"projections {', '.join(missing)} not found in every layer of "
            f"{type(model).__name__}; its linear layers are {', '.join(kinds) or 'none'}; "
            "choose among their last names with --targets"
        )
    return [[layer[target] for target in targets] for layer in found]


def backbone_shape(model: PreTrainedModel, targets: Sequence[str]) -> BackboneShape:
    """Read the numbers of a model that adapters depend on.

    Raises:
        ModelError: If projections are missing, or are not all of one shape.
    """
    projections = find_projections(model, targets)
    widths = {(p.in_features, p.out_features) for layer in projections for _, p in layer}
    if len(widths) > 1:
        raise ModelError(
            "adapted projections must have one shape, got "
            f"{', '.join(f'{i} to {o}' for i, o in sorted(widths))}; choose with --targets"
        )
    ((d_in, d_out),) = widths
    heads = model.config.num_attention_heads
    return BackboneShape(
        d_in=d_in,
        heads=heads,
        head_size=d_out // heads,
        layers=len(projections),
        targets=tuple(targets),
    )


def adapt(model: PreTrainedModel, targets: Sequence[str]) -> Sites:
    """Put an `AdaptedLinear` in the place of every adapted projection of a model."""
    shape = backbone_shape(model, targets)
    modules = []
    for layer in find_projections(model, targets):
        adapted = [AdaptedLinear(projection) for _, projection in layer]
        for (name, _), module in zip(layer, adapted, strict=True):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module)
        modules.append(adapted)
    return Sites(shape=shape, modules=modules)
