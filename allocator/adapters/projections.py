"""Finds the projections of a transformer that adapters update."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from allocator.allocation import BackboneShape
from allocator.errors import ModelError

# What the libraries' encoders call the projections of attention.
PROJECTION_NAMES = {
    "query": ("query", "q", "q_lin", "q_proj"),
    "key": ("key", "k", "k_lin", "k_proj"),
    "value": ("value", "v", "v_lin", "v_proj"),
}


def find_projections(model: nn.Module, targets: Sequence[str]) -> list[list[tuple[str, nn.Linear]]]:
    """Find the adapted projections, by layer and target.

    Args:
        model: A transformer whose layers are numbered in its module names.
        targets: `query`, `key`, `value`, or the last part of a linear layer's name in the model.

    Returns:
        Name and module of every projection: one list a layer, in the order of the targets.

    Raises:
        ModelError: If a target names no projection in some layer, or more than one.
    """
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    layers: dict[int, dict[str, tuple[str, nn.Linear]]] = defaultdict(dict)
    for name, module in linears.items():
        number = re.search(r"\.(\d+)\.", name)
        for target in targets:
            if number and name.rsplit(".", 1)[-1] in PROJECTION_NAMES.get(target, (target,)):
                layer = layers[int(number[1])]
                if target in layer:
                    raise ModelError(
                        f"target {target} must name one linear layer in each layer of "
                        f"{type(model).__name__}, got {layer[target][0]} and {name}; "
                        "choose another with --targets"
                    )
                layer[target] = (name, module)
    found = [layers[number] for number in sorted(layers)]
    missing = [t for t in targets if not found or any(t not in layer for layer in found)]
    if missing:
        kinds = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in linears})
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
    if d_out % heads:
        raise ModelError(
            f"an adapted projection must be as wide as its heads together, got {d_out} for "
            f"{heads} heads; choose with --targets"
        )
    return BackboneShape(
        d_in=d_in,
        heads=heads,
        head_size=d_out // heads,
        layers=len(projections),
        targets=tuple(targets),
    )
