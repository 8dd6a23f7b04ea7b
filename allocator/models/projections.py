"""Find the linear layers of a transformer that adapters update."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from allocator.allocation.constructions import BackboneShape
from allocator.errors import ModelError

ATTENTION_INPUTS = ("query", "key", "value")
"""The targets that read the same input tensor in all models."""

# For each target, the name endings that models in transformers use for it.
PROJECTION_NAMES = {
    "query": ("query", "q", "q_lin", "q_proj", "query_proj"),
    "key": ("key", "k", "k_lin", "k_proj", "key_proj"),
    "value": ("value", "v", "v_lin", "v_proj", "value_proj"),
    # Longer than the others, because BERT's feed-forward layer ends in `output.dense` too.
    "output": ("attention.output.dense", "o", "out_lin", "o_proj"),
}


def find_projections(model: nn.Module, targets: Sequence[str]) -> list[list[tuple[str, nn.Linear]]]:
    """Find the adapted projections, by layer and target.

    Args:
        model: A transformer whose module names contain the numbers of its layers.
        targets: `query`, `key`, `value`, `output`, or the end of a linear layer's name in the
            model, such as `intermediate.dense`.

    Returns:
        Name and module of every projection: one list for each layer, in the order of the targets.

    Raises:
        ModelError: If a target matches no linear layer in some layer of the model, more than one,
            or one that another target matches too.
    """
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    if linears and len(targets) > len(linears):  # a file from elsewhere may list a million
        raise ModelError(
            f"targets must name different linear layers of {type(model).__name__}, which has "
            f"{len(linears)}, got {len(targets):,} targets"
        )
    layers: dict[int, dict[str, tuple[str, nn.Linear]]] = defaultdict(dict)
    for name, module in linears.items():
        # The first number between dots: in `encoder.layer.3.attention.self.query` the layer.
        number = re.search(r"\.(\d+)\.", name)
        for target in targets:
            if number and _is_match(name, target):
                layer = layers[int(number[1])]
                if target in layer:
                    raise ModelError(
                        f"target {target} must name one linear layer in each layer of "
                        f"{type(model).__name__}, got {layer[target][0]} and {name}; "
                        "give a longer ending of its name with --targets"
                    )
                layer[target] = (name, module)
    # By number: as text, 10 would come before 9.
    ordered = [layers[number] for number in sorted(layers)]
    missing = [t for t in targets if not ordered or any(t not in layer for layer in ordered)]
    if missing:
        kinds = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in linears})
        raise ModelError(
            f"projections {', '.join(missing)} not found in every layer of "
            f"{type(model).__name__}; its linear layers are {', '.join(kinds) or 'none'}; "
            "choose among the endings of their names with --targets"
        )
    _require_distinct(targets, ordered[0])
    return [[layer[target] for target in targets] for layer in ordered]


def _is_match(name: str, target: str) -> bool:
    # With a dot in front, so that target `o` matches `attn.o`, but not `attn.foo`.
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
    """Read the shape of a model's backbone.

    Raises:
        ModelError: If projections are missing, have different shapes, or are not a whole number of
            heads wide.
    """
    projections = find_projections(model, targets)
    by_shape: dict[tuple[int, int], dict[str, None]] = defaultdict(dict)  # ordered targets by shape
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
    head_size = _find_head_size(model.config)
    if d_out % head_size:
        raise ModelError(
            f"an adapted projection must be a whole number of heads wide, got {d_out} for heads "
            f"of {head_size}; choose with --targets"
        )
    return BackboneShape(
        d_in=d_in,
        # Not the configuration's number of heads: grouped keys and values have fewer.
        heads=d_out // head_size,
        head_size=head_size,
        layers=len(projections),
        targets=tuple(targets),
    )


def _find_head_size(config: PretrainedConfig) -> int:
    # A model of texts and images has a configuration for each inside its own.
    parts = (config, config.get_text_config(), getattr(config, "vision_config", None))
    for part in parts:
        # A model may set its head size apart from its width.
        if given := getattr(part, "head_dim", None):
            return int(given)
        width: int | None = getattr(part, "hidden_size", None)
        heads: int | None = getattr(part, "num_attention_heads", None)
        if width and heads:
            return width // heads
    raise ModelError(f"{type(config).__name__} does not say how wide an attention head is")
