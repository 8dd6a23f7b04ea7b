"""Answers texts with a trained adapter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from allocator.errors import DataError
from allocator.training.trained import Trained

_BATCH = 64


@torch.no_grad()
def predict(trained: Trained, lines: Iterable[str], *, origin: str) -> Iterator[tuple[str, ...]]:
    """Answer one line after the other.

    Args:
        trained: An adapter on its model.
        lines: One text each, or the texts of a pair with a TAB between them.
        origin: Where the lines come from, for messages.

    Yields:
        The name of the likeliest class and its probability; the score alone for regression.

    Raises:
        DataError: If a line does not hold the task's texts; lines before it have been answered.
    """
    task, model = trained.recipe.task, trained.attached.model
    numbered = enumerate(_decoded(lines, origin), start=1)
    size = 1 if trained.tokenizer.pad_token_id is None else _BATCH
    while rows := list(islice(numbered, size)):
        texts = [_texts(line, task.text_columns, f"{origin}:{number}") for number, line in rows]
        inputs = trained.tokenizer(
            *[list(column) for column in zip(*texts, strict=True)],
            padding=size > 1,
            truncation=True,
            max_length=trained.recipe.training.max_length,
            return_tensors="pt",
        )
        logits = model(**inputs.to(model.device)).logits.float()
        yield from _answers(logits, task.labels)


def _answers(logits: Tensor, labels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    if not labels:
        yield from ((f"{score:.4f}",) for score in logits.squeeze(1).tolist())
        return
    probabilities, classes = logits.softmax(1).max(1)
    for label, probability in zip(classes.tolist(), probabilities.tolist(), strict=True):
        yield labels[label], f"{probability:.4f}"


def _decoded(lines: Iterable[str], origin: str) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(
            f"{origin} must be UTF-8, got byte 0x{byte:02x}; save it as UTF-8"
        ) from None


def _texts(line: str, columns: Sequence[str], where: str) -> list[str]:
    texts = line.removesuffix("\n").removesuffix("\r").split("\t")
    if len(texts) != len(columns):
        raise DataError(
            f"{where}: a line must have {len(columns)} text(s) ({', '.join(columns)}), a TAB "
            f"between two, got {len(texts)}"
        )
    if not any(text.strip() for text in texts):
        raise DataError(f"{where}: no text; remove the line or fill it in")
    return texts
