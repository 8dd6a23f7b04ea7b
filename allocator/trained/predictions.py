"""Answers texts, or images, with a trained adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from transformers import BaseImageProcessor, BatchEncoding, BatchFeature

from allocator.errors import DataError
from allocator.trained.trained_adapter import TrainedAdapter

_BATCH = 64
Lines = Sequence[tuple[str, str]]
"""Lines, each with where it came from, for messages."""


@torch.no_grad()
def predict_lines(
    trained: TrainedAdapter, lines: Iterable[str], *, origin: str
) -> Iterator[tuple[str, ...]]:
    """Answer one line after the other.

    Args:
        trained: An adapter on its model.
        lines: One text each, the texts of a pair with a TAB between them, or the path of an image.
        origin: Where the lines come from, for messages.

    Yields:
        The name of the likeliest class and its probability; the score alone for regression.

    Raises:
        DataError: If a line does not hold the task's texts or image; batches of lines before it
            have been answered.
    """
    labels, model = trained.recipe.task.labels, trained.attached.model
    numbered = enumerate(_decoded(lines, origin), start=1)
    read, size = _reader(trained)
    while rows := list(islice(numbered, size)):
        inputs = read([(line, f"{origin}:{number}") for number, line in rows])
        yield from _answers(model(**inputs.to(model.device)).logits.float(), labels)


def _reader(trained: TrainedAdapter) -> tuple[Callable[[Lines], BatchFeature | BatchEncoding], int]:
    """Give what turns some lines into a model's inputs, and how many lines it takes at once."""
    task, preprocessor = trained.recipe.task, trained.preprocessor
    if isinstance(preprocessor, BaseImageProcessor):
        return lambda rows: _pixels(rows, preprocessor), _BATCH
    size = 1 if preprocessor.pad_token_id is None else _BATCH

    def tokens(rows: Lines) -> BatchEncoding:
        texts = [_texts(line, task.text_columns, where) for line, where in rows]
        encoded: BatchEncoding = preprocessor(
            *[list(column) for column in zip(*texts, strict=True)],
            padding=size > 1,
            truncation=True,
            max_length=trained.recipe.training.max_length,
            return_tensors="pt",
        )
        return encoded

    return tokens, size


def _pixels(rows: Lines, processor: BaseImageProcessor) -> BatchFeature:
    images = []
    for line, where in rows:
        path = line.removesuffix("\n").removesuffix("\r")
        try:
            with Image.open(path) as image:
                images.append(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, UnidentifiedImageError):
            raise DataError(f"{where}: a line must be the path of an image, got {path!r}") from None
    return processor(images, return_tensors="pt")


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
