"""Find the linear layers of a transformer that adapters update."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from allocator.adapters.adapter import place_columns
from allocator.allocation.constructions import BackboneShape
from allocator.allocation.fused_layers import (
    FUSED_LAYERS,
    PARTS,
    OutputSlice,
    place_side_by_side,
)
from allocator.errors import ModelError

LinearLayer = nn.Linear | Conv1D
Site = tuple[str, "Projection"]
"""The name of a linear layer in a model, and the projection that it is or contains."""

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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Projection:
    """One adapted projection: a linear layer of a model, or a part of a fused one.

    Attributes:
        layer: The layer. transformers' `Conv1D` is a linear layer whose weight is transposed.
        place: Where the projection's outputs lie among those of the layer.
    """

    layer: LinearLayer
    place: OutputSlice

    @property
    def weight(self) -> Tensor:
        """The weight of the whole layer, shape (outputs of the layer, inputs); not a copy."""
        return read_weight(self.layer)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of inputs and of the projection's own outputs."""
        return self.weight.shape[1], self.place.width

    def compute_weight_update(self, a_IR: Tensor, b_RO: Tensor) -> Tensor:
        """Compute how an update of this projection changes the layer's parameter `weight`.

        Args:
            a_IR: A of the update.
            b_RO: B of the update.

        Returns:
            Of the parameter's shape, with zeros for the outputs of other projections.
        """
        update_IO = a_IR @ place_columns(b_RO, self.place)
        return update_IO if isinstance(self.layer, Conv1D) else update_IO.T


def read_weight(layer: LinearLayer) -> Tensor:
    """Return a linear layer's weight as (outputs, inputs); not a copy."""
    return layer.weight.T if isinstance(layer, Conv1D) else layer.weight


def find_projections(model: nn.Module, targets: Sequence[str]) -> list[list[Site]]:
    """Find the adapted projections, by layer and target.

    Args:
        model: A transformer whose module names contain the numbers of its layers.
        targets: `query`, `key`, `value`, `output`, or the end of a linear layer's name in the
            model, such as `intermediate.dense`. Query, key and value may be parts of one layer, as
            in the architectures of `FUSED_LAYERS`.

    Returns:
        Every projection with the name of its linear layer: one list for each layer of the model, in
        the order of the targets.

    Raises:
        ModelError: If a target matches no linear layer in some layer of the model, more than one,
            or outputs that another target matches too.
    """
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)}
    # A file from elsewhere may list a million.
    if linears and len(targets) > len(PARTS) * len(linears):
        raise ModelError(
            f"targets must name different linear layers of {type(model).__name__}, which has "
            f"{len(linears)}, got {len(targets):,} targets"
        )
    layers: dict[int, dict[str, Site]] = defaultdict(dict)
    for name, module in linears.items():
        # The first number between dots: in `encoder.layer.3.attention.self.query` the layer.
        number = re.search(r"\.(\d+)\.", name)
        if number is None:
            continue
        for target, place in _list_places(model, name, module, targets).items():
            layer = layers[int(number[1])]
            if target in layer:
                raise ModelError(
                    f"target {target} must name one linear layer in each layer of "
                    f"{type(model).__name__}, got {layer[target][0]} and {name}; "
                    "give a longer ending of its name with --targets"
                )
            layer[target] = (name, Projection(layer=module, place=place))
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


def _list_places(
    model: nn.Module, name: str, layer: LinearLayer, targets: Sequence[str]
) -> dict[str, OutputSlice]:
    """List the targets that a linear layer is or contains, with their places among its outputs."""
    width = read_weight(layer).shape[0]
    (whole,) = place_side_by_side([width])
    places = dict(_place_parts(model, name, width))
    for target in targets:
        if any(_ends_in(name, end) for end in PROJECTION_NAMES.get(target, (target,))):
            places[target] = whole
    return {target: places[target] for target in targets if target in places}


def _place_parts(model: nn.Module, name: str, width: int) -> Mapping[str, OutputSlice]:
    """Place query, key and value among a layer's outputs, if it is one that computes all three."""
    config = getattr(model, "config", None)
    if not isinstance(config, PretrainedConfig):
        return {}
    config = config.get_text_config()
    fused = FUSED_LAYERS.get(config.model_type)
    if fused is None or not _ends_in(name, fused.name):
        return {}
    return fused.place_parts(width, config.num_attention_heads, _find_head_size(config))


def _ends_in(name: str, end: str) -> bool:
    # With a dot in front, so that target `o` matches `attn.o`, but not `attn.foo`.
    return f".{name}".endswith(f".{end}")


def _require_distinct(targets: Sequence[str], layer: Mapping[str, Site]) -> None:
    earlier: dict[str, list[str]] = defaultdict(list)
    for target in targets:
        name, projection = layer[target]
        for other in earlier[name]:
            if projection.place.overlaps(layer[other][1].place):
                raise ModelError(
                    f"targets must name different linear layers, got {other} and {target} for "
                    f"{name}; drop one from --targets"
                )
        earlier[name].append(target)


def find_backbone_shape(model: PreTrainedModel, targets: Sequence[str]) -> BackboneShape:
    """Read the shape of a model's backbone.

    Raises:
        ModelError: If projections are missing, differ between layers, have inputs of different
            widths, or are not a whole number of heads wide.
    """
    layers = find_projections(model, targets)
    shapes = _read_shapes(layers, targets)
    inputs = {width for width, _ in shapes.values()}
    if len(inputs) > 1:
        groups = {i: [t for t, (width, _) in shapes.items() if width == i] for i in sorted(inputs)}
        widths = (f"{i} ({', '.join(group)})" for i, group in groups.items())
        choices = (f"--targets {','.join(group)}" for group in groups.values())
        raise ModelError(
            f"adapted projections must have inputs of one width, got {', '.join(widths)}; "
            f"adapt those of one width alone: {' or '.join(choices)}"
        )
    head_size = _find_head_size(model.config)
    for _, width in shapes.values():
        if width % head_size:
            raise ModelError(
                f"an adapted projection must be a whole number of heads wide, got {width} for "
                f"heads of {head_size}; choose with --targets"
            )
    # Not the configuration's number of heads: grouped keys and values have fewer.
    heads = tuple(width // head_size for _, width in shapes.values())
    return BackboneShape(
        d_in=inputs.pop(),
        heads=max(heads),
        head_size=head_size,
        layers=len(layers),
        targets=tuple(targets),
        target_heads=heads if len(set(heads)) > 1 else (),
    )


def _read_shapes(
    layers: Sequence[Sequence[Site]], targets: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """Read the widths of inputs and outputs of every target, which all layers must share."""
    shapes = {}
    for target, sites in zip(targets, zip(*layers, strict=True), strict=True):
        # A dictionary keeps the order of layers.
        found = list(dict.fromkeys(projection.shape for _, projection in sites))
        if len(found) > 1:
            sizes = ", ".join(f"{i} to {o}" for i, o in found)
            raise ModelError(
                f"target {target} must have one shape in all layers, got {sizes}; "
                "choose others with --targets"
            )
        (shapes[target],) = found
    return shapes


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
