"""Choose the fastest way to run a model that computes exactly what transformers computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from allocator.backbone.backbone import FASTEST, ForwardPath, load_backbone
from allocator.backbone.merged_comparison import answer_merged, answer_packed, describe_mismatch
from allocator.data.sources import TaskData
from allocator.data.tasks import Examples
from allocator.errors import AllocatorError, ModelError
from allocator.inputs.batches import Split
from allocator.inputs.reader import load_reader, require_tokens
from allocator.models.classifier import describe_error
from allocator.models.model_source import ModelSource

_PATHS = (  # from the fastest to the safest
    FASTEST,
    ForwardPath(own_layers=True),
    ForwardPath(own_layers=True, packs=False),
)
_SHORT_TEXT = 12  # characters of the example that is added
_POOL_SIZE = 64  # examples, of which the shortest, a middle one and the longest are compared


def choose_forward_path(
    source: ModelSource,
    targets: Sequence[str],
    data: TaskData,
    *,
    max_length: int,
    device: torch.device,
    attention_of: str | None = None,
) -> ForwardPath:
    """Choose how a model is run on a task, after checking that it can read every example.

    Args:
        source: The pretrained model.
        targets: The adapted projections.
        data: The task's data.
        max_length: Number of tokens after which a text is cut.
        device: Device to compare on.
        attention_of: Kind of device that trials train on, `cuda` or `cpu`; None for that of
            `device`.

    Raises:
        ModelError: If the model does not read examples of this kind, or cannot be trained exactly.
        DataError: If an example is empty.
    """
    read = load_reader(source, data.task, max_length=max_length, device=device)
    examples = data.train.select(range(min(_POOL_SIZE, len(data.train))))
    if not data.task.is_of_images:
        require_tokens(source, data, max_length=max_length)
        examples = _add_short_example(examples)
    split, num_labels = read(examples), data.task.num_labels
    choose = partial(
        compare_forward_paths,
        source,
        targets,
        split,
        num_labels=num_labels,
        attention_of=attention_of or device.type,
    )
    try:
        return choose(device=device)
    except torch.OutOfMemoryError:
        # Memory of a GPU ran out in float32. Training in bfloat16 needs less, so it may still fit.
        return choose(device=torch.device("cpu"))
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()  # memory that this process keeps is missing in the worker


def _add_short_example(examples: Examples) -> Examples:
    """Add the beginning of the first text, so that some example of a batch is padded."""
    beginning = tuple(text[:_SHORT_TEXT] for text in examples.inputs[0])
    return Examples(
        inputs=(*examples.inputs, beginning),
        labels=(*examples.labels, examples.labels[0]),
    )


def compare_forward_paths(
    source: ModelSource,
    targets: Sequence[str],
    split: Split,
    *,
    num_labels: int,
    device: torch.device,
    attention_of: str,
) -> ForwardPath:
    """Choose how a model is run by comparing each way with transformers' own model.

    Two trials with random updates and heads answer a padded batch of examples of different lengths
    as they would in training. The reference is what an export computes: transformers' own model
    with the updates merged into its weights, one example at a time. Logits and the gradients of the
    updates must agree to rounding, in float32, where rounding is smallest.

    Args:
        source: The pretrained model.
        targets: The adapted projections.
        split: Some examples of the task.
        num_labels: Number of classes; 1 for regression.
        device: Device to compare on.
        attention_of: Kind of device whose attention is compared, `cuda` or `cpu`.

    Returns:
        The first of these ways that agrees: trials together on this package's layers; trials
        together on transformers' own attention and layers; one trial at a time on the latter.

    Raises:
        ModelError: If none agrees.
    """
    rows = _choose_rows(split)
    try:
        trials, expected = answer_merged(source, targets, split, rows, num_labels, device)
    except (AllocatorError, torch.OutOfMemoryError):
        raise
    except Exception as problem:  # noqa: BLE001  # a model's own code may raise anything
        raise ModelError(
            f"model {source.name!r} cannot be trained: transformers' own model, with merged "
            f"weights and one example, fails with {describe_error(problem)}"
        ) from None
    load = partial(
        load_backbone,
        source,
        targets,
        num_labels=num_labels,
        precision="float32",
        device=device,
        attention_of=attention_of,
    )
    reason = mismatch = ""
    for path in _PATHS:
        try:
            # The backbone is not bound to a name, because memory may hold only one.
            answers = answer_packed(load(path=path), trials, split, rows)
            mismatch = describe_mismatch(answers, expected)
        except (AllocatorError, torch.OutOfMemoryError):
            raise
        except Exception as problem:  # noqa: BLE001  # as above
            trained = "two trials together fail" if path.packs else "one trial fails"
            mismatch = f"{trained} with {describe_error(problem)}"
        if not mismatch:
            return dataclasses.replace(path, reason=reason)
        reason = reason or mismatch  # why the fastest way is not used
    raise ModelError(
        f"model {source.name!r} cannot be trained exactly: {mismatch}; choose another --model"
    )


def _choose_rows(split: Split) -> list[int]:
    """Choose the shortest example, one of middle length and the longest."""
    order = np.argsort(split.lengths, kind="stable")
    return sorted({int(order[i]) for i in (0, len(order) // 2, -1)})
