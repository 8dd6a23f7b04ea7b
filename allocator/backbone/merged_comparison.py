"""Compare a pack's answers with those of transformers' own model with merged updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.backbone.backbone import Backbone
from allocator.backbone.output_layers import require_scalable_logits
from allocator.config import AdapterConfig
from allocator.inputs.batches import Split
from allocator.models.classifier import load_classifier
from allocator.models.head_parameters import find_head_parameters
from allocator.models.model_source import ModelSource
from allocator.models.projections import find_backbone_shape, find_projections

# Shapes: S slots, B examples, C classes, I input width, R bottleneck rank, O output width

_RANKS = (2, 3)  # ranks of LoRA in the two slots; different, so that one is padded
_UPDATE_SIZE = 0.3  # norm of an update over the norm of the weights that it is added to
_HEAD_NOISE = 0.05  # standard deviation of the noise added to a head's parameters
# Largest allowed differences, as fractions of the largest logit and of the largest gradient. For
# tiny models of all architectures, rounding causes differences of at most 2e-6 and 4e-6, and faults
# of at least 5e-4.
_LOGIT_TOLERANCE, _GRADIENT_TOLERANCE = 1e-4, 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomTrial:
    """A trial as in the middle of its training, with random values.

    Attributes:
        adapter: An adapter whose updates are not zero.
        head: Parameters of the head by name; they differ from the loaded ones.
    """

    adapter: Adapter
    head: Mapping[str, Tensor]


def _make_random_trials(model: PreTrainedModel, targets: Sequence[str]) -> list[RandomTrial]:
    shape = AdapterShape(
        construction="matrix",
        factorization="matrix",
        backbone=find_backbone_shape(model, targets),
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    weight = find_projections(model, targets)[0][0][1].weight
    trials = []
    for seed, rank in enumerate(_RANKS):
        draw = torch.Generator().manual_seed(seed)
        adapter = build_adapter(spec, {"rank": rank}, seed=seed)
        with torch.no_grad():
            adapter.zero_part.normal_(generator=draw)
            a_IR, b_RO = adapter.compute_pairs().select_site(0, 0)
            # A large update, so that an error in it is far above rounding.
            adapter.zero_part.mul_(_UPDATE_SIZE * weight.norm().item() / (a_IR @ b_RO).norm())
        head = {
            name: value.detach() + _HEAD_NOISE * torch.randn(value.shape, generator=draw).to(value)
            for name, value in find_head_parameters(model, trains_pooler=True).items()
        }
        trials.append(RandomTrial(adapter=adapter.to(model.device), head=head))
    return trials


def answer_merged(
    source: ModelSource,
    targets: Sequence[str],
    split: Split,
    rows: Sequence[int],
    num_labels: int,
    device: torch.device,
) -> tuple[list[RandomTrial], tuple[Tensor, Tensor]]:
    """Make two random trials and compute their answers with transformers' own model.

    The updates are merged into the model's weights, and the examples are read one by one.

    Args:
        source: The pretrained model.
        targets: The adapted projections.
        split: Some examples of the task.
        rows: Indices of the examples to answer.
        num_labels: Number of classes; 1 for regression.
        device: Device to compute on.

    Returns:
        The trials, and their answers: logits of shape (S, B, C), and the gradients of all adapters'
        parameters with respect to the sum of squared logits, flat.

    Raises:
        ModelError: If no calibration can be folded into the model's head.
    """
    model, _ = load_classifier(source, num_labels)
    nn.Module.to(model.requires_grad_(False), device)
    trials = _make_random_trials(model, targets)
    projections = find_projections(model, targets)
    inputs = [dict(split.make_batch([row], device).inputs) for row in rows]
    logits = []
    for trial in trials:
        pairs, weights = trial.adapter.compute_pairs(), dict(trial.head)
        for layer, layer_projections in enumerate(projections):
            for target, (name, projection) in enumerate(layer_projections):
                update = projection.compute_weight_update(*pairs.select_site(layer, target))
                # A fused layer has the updates of several targets.
                weight = weights.get(f"{name}.weight", projection.layer.weight)
                weights[f"{name}.weight"] = weight + update
        # The weights are passed in a call, not written to the model, so that gradients reach the
        # adapter.
        answers = [torch.func.functional_call(model, weights, (), one).logits for one in inputs]
        logits.append(torch.cat(answers))
    expected = _add_gradients(torch.stack(logits), trials)
    require_scalable_logits(model, inputs[0])
    return trials, expected


def answer_packed(
    backbone: Backbone, trials: Sequence[RandomTrial], split: Split, rows: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Compute the answers of trials to a padded batch as a pack does.

    Args:
        backbone: The backbone, run in the way that is compared.
        trials: As `answer_merged` returns them.
        split: Some examples of the task.
        rows: Indices of the examples to answer, as one batch.

    Returns:
        Logits and gradients as `answer_merged` returns them.
    """
    batch = split.make_batch(rows, backbone.device)
    together = len(trials) if backbone.packs else 1
    logits = []
    for first in range(0, len(trials), together):
        group = trials[first : first + together]
        backbone.sites.set_updates([trial.adapter.compute_pairs() for trial in group])
        states = backbone(batch.inputs, blocks=[0] * len(group)).unflatten(0, (len(group), -1))
        for hidden, trial in zip(states, group, strict=True):
            head = backbone.head.copy_with_fresh_parameters(seed=0)
            head.load_trained_state_dict(trial.head)
            logits.append(head(hidden, batch.inputs))
    return _add_gradients(torch.stack(logits), trials)


def _add_gradients(logits_SBC: Tensor, trials: Sequence[RandomTrial]) -> tuple[Tensor, Tensor]:
    parameters = [parameter for trial in trials for parameter in trial.adapter.parameters()]
    if not logits_SBC.requires_grad:
        raise ValueError("its answers do not depend on the targets")
    # The sum of squares weights every logit differently, so that errors cannot cancel.
    gradients = torch.autograd.grad(logits_SBC.float().pow(2).sum(), parameters)
    return logits_SBC.detach().float(), torch.cat([gradient.flatten() for gradient in gradients])


def describe_mismatch(packed: tuple[Tensor, Tensor], merged: tuple[Tensor, Tensor]) -> str:
    """Describe by how much the answers of a pack differ from those of the merged model.

    Args:
        packed: Logits and gradients of `answer_packed`.
        merged: Logits and gradients of `answer_merged`.

    Returns:
        A clause for the user; empty if the answers differ only by rounding.
    """
    for what, mine, theirs, tolerance in zip(
        ("logits", "gradients"),
        packed,
        merged,
        (_LOGIT_TOLERANCE, _GRADIENT_TOLERANCE),
        strict=True,
    ):
        if mine.shape != theirs.shape:
            return (
                f"{what} of shape {tuple(mine.shape)} where transformers has {tuple(theirs.shape)}"
            )
        difference, largest = float((mine - theirs).abs().max()), float(theirs.abs().max())
        if not difference <= tolerance * largest:  # also true if the difference is NaN
            return (
                f"{what} on a padded batch differ by {difference:.1e} from transformers' own on "
                f"each example alone, where the largest is {largest:.1e}"
            )
    return ""
