"""Chooses the fastest way to run a model that computes exactly what transformers computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from allocator.adapters import Adapter, AdapterSpec, backbone_shape, build_adapter
from allocator.adapters.head_parameters import head_parameters
from allocator.adapters.projections import find_projections
from allocator.allocation import AdapterShape
from allocator.config import AdapterConfig
from allocator.errors import AllocatorError, ModelError
from allocator.training.backbone import FASTEST, Backbone, ForwardPath, load_backbone
from allocator.training.batches import Split
from allocator.training.classifier import load_classifier, one_line
from allocator.training.data_sources import TaskData
from allocator.training.inputs import load_reader, require_tokens
from allocator.training.models import ModelSource
from allocator.training.tasks import Examples

# Shapes: S slots, B examples, C classes

_PATHS = (
    FASTEST,
    ForwardPath(own_layers=True),
    ForwardPath(own_layers=True, packs=False),
)
_RANKS = (2, 3)  # of LoRA in each of two slots
_UPDATE = 0.3  # norm of an update over that of the weights it is added to
_STEP = 0.05  # how far a head's parameters have moved
# Shares of the largest logit and of the largest gradient. Over tiny models of all architectures
# what agrees differs by at most 2e-6 and 4e-6 of these, what does not by 5e-4 and more.
_LOGITS, _GRADIENTS = 1e-4, 1e-3
_BEGINNING = 12  # characters
_POOL = 64  # examples of which the shortest, a middle one and the longest are compared


def check_path(
    source: ModelSource,
    targets: Sequence[str],
    data: TaskData,
    *,
    max_length: int,
    device: torch.device,
    attention_of: str | None = None,
) -> ForwardPath:
    """Choose how a model is run on a task, once all that it is to read is known to be readable.

    Args:
        source: The pretrained model.
        targets: The adapted projections.
        data: The task's data.
        max_length: Tokens after which a text is cut.
        device: Where to compare.
        attention_of: Kind of device that trials train on, where that is another one.

    Raises:
        ModelError: If the model reads no such examples, or cannot be trained exactly.
        DataError: If an example holds nothing to read.
    """
    read = load_reader(source, data.task, max_length=max_length, device=device)
    some = data.train.select(range(min(_POOL, len(data.train))))
    if not data.task.is_of_images:
        require_tokens(source, data, max_length=max_length)
        some = _with_a_short_one(some)
    split, num_labels = read(some), data.task.num_labels
    choose = partial(
        choose_path,
        source,
        targets,
        split,
        num_labels=num_labels,
        attention_of=attention_of or device.type,
    )
    try:
        return choose(device=device)
    except torch.OutOfMemoryError:  # of a GPU; training needs less, in bfloat16
        return choose(device=torch.device("cpu"))
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()  # for the worker that trains there


def _with_a_short_one(examples: Examples) -> Examples:
    """Add the beginning of the first text, so that lengths differ whatever the texts are."""
    beginning = tuple(text[:_BEGINNING] for text in examples.inputs[0])
    return Examples(
        inputs=(*examples.inputs, beginning),
        labels=(*examples.labels, examples.labels[0]),
    )


def choose_path(
    source: ModelSource,
    targets: Sequence[str],
    split: Split,
    *,
    num_labels: int,
    device: torch.device,
    attention_of: str,
) -> ForwardPath:
    """Choose how a model is run, by comparing each way with transformers' own.

    Two trials with random updates and heads answer a padded batch of unequal examples as they
    would in training. The reference is what an export computes: transformers' own model with the
    updates merged into its weights, one example at a time. Logits and the gradients of the updates
    must agree to rounding, in float32, where rounding is smallest.

    Args:
        source: The pretrained model.
        targets: The adapted projections.
        split: Some examples of the task.
        num_labels: Classes; 1 for regression.
        device: Where to compare.
        attention_of: Kind of device whose attention is compared, `cuda` or `cpu`.

    Returns:
        The first that agrees of: together, as is fastest here; together, with transformers' own
        attention and layers; one trial at a time on these.

    Raises:
        ModelError: If none agrees.
    """
    rows = _unequal(split)
    try:
        trials, expected = _merged(source, targets, split, rows, num_labels, device)
    except (AllocatorError, torch.OutOfMemoryError):
        raise
    except Exception as problem:  # noqa: BLE001  # a model's own code may raise anything
        raise ModelError(
            f"model {source.name!r} cannot be trained: transformers' own model, with merged "
            f"weights and one example, fails with {one_line(problem)}"
        ) from None
    reason = mismatch = ""
    for path in _PATHS:
        try:
            backbone = load_backbone(
                source,
                targets,
                num_labels=num_labels,
                precision="float32",
                device=device,
                path=path,
                attention_of=attention_of,
            )
            mismatch = _mismatch(_packed(backbone, trials, split, rows), expected)
            del backbone  # before the next is loaded
        except (AllocatorError, torch.OutOfMemoryError):
            raise
        except Exception as problem:  # noqa: BLE001  # as above
            trained = "two trials together fail" if path.packs else "one trial fails"
            mismatch = f"{trained} with {one_line(problem)}"
        if not mismatch:
            return dataclasses.replace(path, reason=reason)
        reason = reason or mismatch
    raise ModelError(
        f"model {source.name!r} cannot be trained exactly: {mismatch}; choose another --model"
    )


def _unequal(split: Split) -> list[int]:
    """Take the shortest, a middle and the longest of some examples."""
    order = np.argsort(split.lengths, kind="stable")
    return sorted({int(order[i]) for i in (0, len(order) // 2, -1)})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trial:
    """A trial in the middle of its training: an adapter, and what its head has learnt."""

    adapter: Adapter
    head: Mapping[str, Tensor]


def _random_trials(model: PreTrainedModel, targets: Sequence[str]) -> list[_Trial]:
    shape = AdapterShape(
        construction="matrix",
        factorization="matrix",
        backbone=backbone_shape(model, targets),
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
        trials.append(_Trial(adapter=adapter.to(model.device), head=head))
    return trials


def _merged(
    source: ModelSource,
    targets: Sequence[str],
    split: Split,
    rows: Sequence[int],
    num_labels: int,
    device: torch.device,
) -> tuple[list[_Trial], tuple[Tensor, Tensor]]:
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


def _packed(
    backbone: Backbone, trials: Sequence[_Trial], split: Split, rows: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Answer a padded batch as a pack does: logits of shape (S, B, C), and gradients."""
    batch = split.batch(rows, backbone.device)
    together = len(trials) if backbone.packs else 1
    logits = []
    for first in range(0, len(trials), together):
        group = trials[first : first + together]
        backbone.sites.use([trial.adapter.pairs() for trial in group])
        states = backbone(batch.inputs, slots=len(group)).unflatten(0, (len(group), -1))
        for hidden, trial in zip(states, group, strict=True):
            head = backbone.head.copy_fresh(seed=0)
            head.load_trained(trial.head)
            logits.append(head(hidden, batch.inputs))
    return _with_gradients(torch.stack(logits), trials)


def _with_gradients(logits_SBC: Tensor, trials: Sequence[_Trial]) -> tuple[Tensor, Tensor]:
    parameters = [parameter for trial in trials for parameter in trial.adapter.parameters()]
    if not logits_SBC.requires_grad:
        raise ValueError("its answers do not depend on the targets")
    gradients = torch.autograd.grad(logits_SBC.float().pow(2).sum(), parameters)
    return logits_SBC.detach().float(), torch.cat([gradient.flatten() for gradient in gradients])


def _mismatch(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> str:
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
