"""From the examples of a task to what a model reads: tokens, or pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch

from allocator.errors import DataError, ModelError
from allocator.training.batches import Split, tokenize
from allocator.training.data_sources import TaskData
from allocator.training.images import decode, load_image_processor
from allocator.training.models import ModelSource, read_config, reads_images
from allocator.training.preprocessors import load_tokenizer
from allocator.training.tasks import Examples, Task

Reader = Callable[[Examples], Split]


def load_reader(
    source: ModelSource, task: Task, *, max_length: int, device: torch.device
) -> Reader:
    """Load what turns the examples of a task into a model's inputs.

    Args:
        source: The model.
        task: The task.
        max_length: Tokens after which a text is cut.
        device: Where images are kept.

    Raises:
        ModelError: If the model reads no such examples, or lacks its tokenizer or image processor.
    """
    if task.is_of_images != reads_images(source):
        model, examples = ("texts", "images") if task.is_of_images else ("images", "texts")
        other = "dinov2-small" if task.is_of_images else "minilm"
        raise ModelError(
            f"model {source.name!r} reads {model}, but task {task.name!r} is of {examples}; "
            f"give another --model, such as {other}"
        )
    if task.is_of_images:
        processor = load_image_processor(source)
        return lambda examples: decode(examples, processor, device)
    tokenizer = load_tokenizer(source)
    return lambda examples: tokenize(examples, tokenizer, max_length=max_length)


def require_tokens(source: ModelSource, data: TaskData) -> None:
    """Refuse a tokenizer that its model cannot follow, and texts that have no tokens.

    Args:
        source: A model that reads texts.
        data: The task's data.

    Raises:
        ModelError: If the tokenizer has tokens that the model has no embedding of.
        DataError: Naming the first text without tokens.
    """
    tokenizer = load_tokenizer(source)
    rows: int | None = getattr(read_config(source).get_text_config(), "vocab_size", None)
    token, last = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if rows is not None and last >= rows:
        raise ModelError(
            f"the tokenizer of model {source.name!r} must have ids below {rows:,}, the rows of its "
            f"embedding, got {last:,} for token {token!r}; use the tokenizer it was trained with"
        )
    if tokenizer("")["input_ids"]:
        return  # it marks where a text begins or ends: no text is without tokens
    for split, examples in (("train", data.train), ("dev", data.dev)):
        columns = [list(column) for column in zip(*examples.inputs, strict=True)]
        for number, ids in enumerate(tokenizer(*columns)["input_ids"], start=1):
            if not ids:
                text = examples.inputs[number - 1]
                raise DataError(
                    f"example {number:,} of {split} of task {data.task.name!r} has no tokens for "
                    f"model {source.name!r}: {text!r}; remove it or fill it in"
                )
