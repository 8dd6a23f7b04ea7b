"""Answers of two random trials: of transformers' own merged model, and of a pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import build_adapter
from allocator.allocation import AdapterShape
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.backbone.backbone import Backbone
from allocator.config import AdapterConfig
from allocator.inputs.batches import Split
from allocator.models.classifier import load_classifier
from allocator.models.head_parameters import head_parameters
from allocator.models.model_source import ModelSource
from allocator.models.projections import find_backbone_shape, find_projections

# Shapes: S slots, B examples, C classes, I input width, R bottleneck rank, O output width

_RANKS = (2, 3)  # of LoRA in each of two slots
_UPDATE = 0.3  # norm of an update over that of the weights it is added to
_STEP = 0.05  # how far a head's parameters have moved
# Shares of the largest logit and of the largest gradient. Over tiny models of all architectures
# what agrees differs by at most 2e-6 and 4e-6 of these, what does not by 5e-4 and more.
_LOGITS, _GRADIENTS = 1e-4, 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomTrial:
    """A trial in the middle of its training: an adapter, and what its head has learnt."""

    adapter: Adapter
    head: Mapping[str, Tensor]


def _random_trials(model: PreTrainedModel, targets: Sequence[str]) -> list[RandomTrial]:
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
            a_IR, b_RO = adapter.pairs().site(0, 0)
            adapter.zero_part.mul_(_UPDATE * weight.norm().item() / (a_IR @ b_RO).norm())
        head = {
            name: value.detach() + _STEP * torch.randn(value.shape, generator=draw).to(value)
            for name, value in head_parameters(model, trains_pooler=True).items()
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
    """Make two trials, and answer each example alone by transformers' model merged with them."""
    model, _ = load_classifier(source, num_labels)
    nn.Module.to(model.requires_grad_(False), device)
    trials = _random_trials(model, targets)
    projections = find_projections(model, targets)
    inputs = [dict(split.batch([row], device).inputs) for row in rows]
    logits = []
    for trial in trials:
        pairs, weights = trial.adapter.pairs(), dict(trial.head)
        for layer, of_layer in enumerate(projections):
            for target, (name, linear) in enumerate(of_layer):
                a_IR, b_RO = pairs.site(layer, target)
                weights[f"{name}.weight"] = linear.weight + (a_IR @ b_RO).T
        answers = [torch.func.functional_call(model, weights, (), one).logits for one in inputs]
        logits.append(torch.cat(answers))
    return trials, _with_gradients(torch.stack(logits), trials)


def answer_packed(
    backbone: Backbone, trials: Sequence[RandomTrial], split: Split, rows: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Answer a padded batch as a pack does: logits of shape (S, B, C), and gradients."""
    batch = split.batch(rows, backbone.device)
    together = len(trials) if backbone.packs else 1
    logits = []
    for first in range(0, len(trials), together):
        group = trials[first : first + together]
        backbone.sites.set_updates([trial.adapter.pairs() for trial in group])
        states = backbone(batch.inputs, slots=len(group)).unflatten(0, (len(group), -1))
        for hidden, trial in zip(states, group, strict=True):
            head = backbone.head.copy_with_fresh_parameters(seed=0)
            head.load_trained_state_dict(trial.head)
            logits.append(head(hidden, batch.inputs))
    return _with_gradients(torch.stack(logits), trials)


def _with_gradients(logits_SBC: Tensor, trials: Sequence[RandomTrial]) -> tuple[Tensor, Tensor]:
    parameters = [parameter for trial in trials for parameter in trial.adapter.parameters()]
    if not logits_SBC.requires_grad:
        raise ValueError("its answers do not depend on the targets")
    gradients = torch.autograd.grad(logits_SBC.float().pow(2).sum(), parameters)
    return logits_SBC.detach().float(), torch.cat([gradient.flatten() for gradient in gradients])


def describe_mismatch(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> str:
    """Word by how much two answers differ; empty where that is rounding."""
    for what, mine, theirs, rounding in zip(
        ("logits", "gradients"), found, expected, (_LOGITS, _GRADIENTS), strict=True
    ):
        if mine.shape != theirs.shape:
            return (
                f"{what} of shape {tuple(mine.shape)} where transformers has {tuple(theirs.shape)}"
            )
        difference, largest = float((mine - theirs).abs().max()), float(theirs.abs().max())
        if not difference <= rounding * largest:
            return (
                f"{what} on a padded batch differ by {difference:.1e} from transformers' own on "
                f"each example alone, where the largest is {largest:.1e}"
            )
    return ""
