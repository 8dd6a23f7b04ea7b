"""Convert the examples of a task to a model's inputs: tokens, or pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from transformers import PreTrainedTokenizerBase

from allocator.data.sources import TaskData
from allocator.data.tasks import Examples, Task
from allocator.errors import DataError, ModelError
from allocator.inputs.batches import Split
from allocator.inputs.images import decode_images
from allocator.inputs.text_lengths import limit_length
from allocator.inputs.tokens import tokenize_examples
from allocator.models.model_config import read_config, reads_images
from allocator.models.model_source import ModelSource
from allocator.models.preprocessors import load_image_processor, load_tokenizer

_CHUNK = 1_000  # texts that are tokenized at once
Reader = Callable[[Examples], Split]


def load_reader(
    source: ModelSource, task: Task, *, max_length: int, device: torch.device
) -> Reader:
    """Load the function that converts the examples of a task to a model's inputs.

    Args:
        source: The model.
        task: The task.
        max_length: Tokens after which a text is cut, or earlier if the model reads fewer.
        device: Device on which images are kept.

    Raises:
        ModelError: If the model reads images and the task has texts, or the other way round, or if
            it lacks its tokenizer or image processor.
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
        return lambda examples: decode_images(examples, processor, device)
    tokenizer, cut_at = load_tokenizer(source), limit_length(source, max_length)
    return lambda examples: tokenize_examples(examples, tokenizer, max_length=cut_at)


def require_tokens(source: ModelSource, data: TaskData, *, max_length: int) -> None:
    """Refuse texts that have tokens without an embedding, or no tokens at all.

    Args:
        source: A model that reads texts.
        data: The task's data.
        max_length: Tokens after which a text is cut.

    Raises:
        ModelError: If the tokenizer produces ids beyond the rows of the model's embedding.
        DataError: If a text has no tokens; the message names the first.
    """
    tokenizer = load_tokenizer(source)
    splits = {"train": data.train.inputs, "dev": data.dev.inputs}
    rows: int | None = getattr(read_config(source).get_text_config(), "vocab_size", None)
    all_texts = (text for inputs in splits.values() for columns in inputs for text in columns)
    if rows is not None and (outside := _find_token_beyond(rows, tokenizer, all_texts)) is not None:
        token, token_id = outside
        raise ModelError(
            f"the tokenizer of model {source.name!r} must have ids below {rows:,}, the rows of "
            f"its embedding, got {token_id:,} for token {token!r}; use its own tokenizer"
        )
    if tokenizer("")["input_ids"]:
        return  # it adds tokens at the start or the end, so no text is without
    for split, inputs in splits.items():
        for start in range(0, len(inputs), _CHUNK):
            columns = [list(column) for column in zip(*inputs[start : start + _CHUNK], strict=True)]
            encoded = tokenizer(*columns, truncation=True, max_length=max_length)
            # Not strict, because the inputs go on after the chunk.
            for ids, texts in zip(encoded["input_ids"], inputs[start:], strict=False):
                if not ids:
                    raise DataError(
                        f"{split} of task {data.task.name!r} has an example without tokens for "
                        f"model {source.name!r}: {texts!r}; remove it or fill it in"
                    )


def _find_token_beyond(
    rows: int, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]
) -> tuple[str, int] | None:
    """Find a token that the tokenizer produces, but that has no row in the embedding.

    A tokenizer may have tokens without an embedding, such as one for images, as long as no text
    contains them.
    """
    beyond = {token: i for token, i in tokenizer.get_vocab().items() if i >= rows}
    if not beyond:
        return None
    # Any text may contain ordinary tokens. An added token must stand in a text, unless it is one
    # of those that frame or pad every text.
    added = tokenizer.get_added_vocab()
    special = (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token)
    always = {*special, tokenizer.cls_token, tokenizer.sep_token}
    produced = [token for token in beyond if token not in added or token in always]
    produced += [token for text in texts for token in beyond if token in text]
    return (produced[0], beyond[produced[0]]) if produced else None
