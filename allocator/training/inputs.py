"""From the examples of a task to what a model reads: tokens, or pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch

from allocator.errors import ModelError
from allocator.training.backbone import load_tokenizer
from allocator.training.batches import Split, tokenize
from allocator.training.images import decode, load_image_processor
from allocator.training.models import ModelSource, reads_images
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
