"""Finds the projections of a transformer that adapters update."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from allocator.allocation import BackboneShape
from allocator.errors import ModelError

ATTENTION_INPUTS = ("query", "key", "value")
"""The targets that read one input, known to be one tensor."""

# What transformers calls the projections of attention, by the ends of their names.
PROJECTION_NAMES = {
    "query": ("query", "q", "q_lin", "q_proj", "query_proj"),
    "key": ("key", "k", "k_lin", "k_proj", "key_proj"),
    "value": ("value", "v", "v_lin", "v_proj", "value_proj"),
    "output": ("attention.output.dense", "o", "out_lin", "o_proj"),
}


def find_projections(model: nn.Module, targets: Sequence[str]) -> list[list[tuple[str, nn.Linear]]]:
    """Find the adapted projections, by layer and target.

    Args:
        model: A transformer whose layers are numbered in its module names.
        targets: `query`, `key`, `value`, `output`, or the end of a linear layer's name in the
            model, such as `intermediate.dense`.

    Returns:
        Name and module of every projection: one list a layer, in the order of the targets.

    Raises:
        ModelError: If a target names no projection in some layer, more than one, or one that
            another target names too.
    """
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    if linears and len(targets) > len(linears):  # a stranger's file may name a million
        raise ModelError(
            f"targets must name different linear layers of {type(model).__name__}, which has "
            f"{len(linears)}, got {len(targets):,} targets"
        )
    layers: dict[int, dict[str, tuple[str, nn.Linear]]] = defaultdict(dict)
    for name, module in linears.items():
        number = re.search(r"\.(\d+)\.", name)
        for target in targets:
            if number and _is_named(name, target):
                layer = layers[int(number[1])]
                if target in layer:
                    raise ModelError(
                        f"target {target} must name one linear layer in each layer of "
                        f"{type(model).__name__}, got {layer[target][0]} and {name}; "
                        "give more of its name with --targets"
                    )
                layer[target] = (name, module)
    found = [layers[number] for number in sorted(layers)]
    missing = [t for t in targets if not found or any(t not in layer for layer in found)]
    if missing:
        kinds = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in linears})
        raise ModelError(
            f"projections {', '.join(missing)} not found in every layer of "
            f"{type(model).__name__}; its linear layers are {', '.join(kinds) or 'none'}; "
            "choose among the ends of their names with --targets"
        )
    _require_distinct(targets, found[0])
    return [[layer[target] for target in targets] for layer in found]


def _is_named(name: str, target: str) -> bool:
    return any(f".{name}".endswith(f".{end}") for end in PROJECTION_NAMES.get(target, (target,)))


def _require_distinct(targets: Sequence[str], layer: Mapping[str, tuple[str, nn.Linear]]) -> None:
    first: dict[str, str] = {}
    for target in targets:
        name = layer[target][0]
        if name in first:
            raise ModelError(
                f"targets must name different linear layers, got {first[name]} and {target} for "
                f"{name}; drop one from --targets"
            )
        first[name] = target


def find_backbone_shape(model: PreTrainedModel, targets: Sequence[str]) -> BackboneShape:
    """Read the numbers of a model that adapters depend on.

    Raises:
        ModelError: If projections are missing, or are not all of one shape.
    """
    projections = find_projections(model, targets)
    by_shape: dict[tuple[int, int], dict[str, None]] = defaultdict(dict)  # targets in their order
    for layer in projections:
        for target, (_, projection) in zip(targets, layer, strict=True):
            by_shape[projection.in_features, projection.out_features][target] = None
    if len(by_shape) > 1:
        shapes = (f"{i} to {o} ({', '.join(group)})" for (i, o), group in by_shape.items())
        choices = (f"--targets {','.join(group)}" for group in by_shape.values())
        raise ModelError(
            f"adapted projections must have one shape, got {', '.join(shapes)}; "
            f"adapt those of one shape alone: {' or '.join(choices)}"
        )
    ((d_in, d_out),) = by_shape
    head_size = _head_size(model.config)
    if d_out % head_size:
        raise ModelError(
            f"an adapted projection must be a whole number of heads wide, got {d_out} for heads "
            f"of {head_size}; choose with --targets"
        )
    return BackboneShape(
        d_in=d_in,
        heads=d_out // head_size,
        head_size=head_size,
        layers=len(projections),
        targets=tuple(targets),
    )


def _head_size(config: PretrainedConfig) -> int:
    # A model of several kinds of input has a configuration for each.
    parts = (config, config.get_text_config(), getattr(config, "vision_config", None))
    for part in parts:
        if given := getattr(part, "head_dim", None):
            return int(given)
        width: int | None = getattr(part, "hidden_size", None)
        heads: int | None = getattr(part, "num_attention_heads", None)
        if width and heads:
            return width // heads
    raise ModelError(f"{type(config).__name__} does not say how wide an attention head is")
