"""Predictions of a trained adapter for lines of text or paths of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from transformers import BaseImageProcessor, BatchEncoding, BatchFeature

from allocator.errors import DataError
from allocator.inputs.text_lengths import limit_length
from allocator.trained.trained_adapter import TrainedAdapter

_BATCH_SIZE = 64
LocatedLines = Sequence[tuple[str, str]]
"""Lines, each with its origin and line number for error messages."""


@torch.no_grad()
def predict_lines(
    trained: TrainedAdapter, lines: Iterable[str], *, origin: str
) -> Iterator[tuple[str, ...]]:
    """Predict the class or the score of every line, in the order of the lines.

    Args:
        trained: An adapter on its model.
        lines: Lines of one text each, of two texts with a TAB between them for a task on pairs, or
            of the path of an image.
        origin: Origin of the lines, for error messages.

    Yields:
        For every line, the name of a class and its probability: of the most likely class, or as
        the recipe's decision threshold says; of several labels, the same of each that is more
        likely than not; for regression, only the score.

    Raises:
        DataError: If a line does not have the task's texts or image. The batches before that line
            are answered first.
    """
    task, model = trained.recipe.task, trained.attached.model
    numbered = enumerate(_iterate_decoded(lines, origin), start=1)
    read, size = _choose_reader(trained)
    while rows := list(islice(numbered, size)):
        inputs = read([(line, f"{origin}:{number}") for number, line in rows])
        logits = model(**inputs.to(model.device)).logits.float()
        if task.is_multi_label:
            yield from _format_labels(logits, task.labels)
        else:
            threshold = trained.recipe.training.decision_threshold
            yield from _format_answers(logits, task.labels, threshold)


def _choose_reader(
    trained: TrainedAdapter,
) -> tuple[Callable[[LocatedLines], BatchFeature | BatchEncoding], int]:
    """Return a function that converts lines to inputs of the model, and its number of lines."""
    task, preprocessor = trained.recipe.task, trained.preprocessor
    if isinstance(preprocessor, BaseImageProcessor):
        return lambda rows: _read_pixels(rows, preprocessor), _BATCH_SIZE
    # Texts of different lengths make one batch only if they can be padded.
    size = 1 if preprocessor.pad_token_id is None else _BATCH_SIZE
    cut_at = limit_length(trained.source, trained.recipe.training.max_length)

    def read_tokens(rows: LocatedLines) -> BatchEncoding:
        texts = [_split_texts(line, task.text_columns, where) for line, where in rows]
        encoded: BatchEncoding = preprocessor(
            *[list(column) for column in zip(*texts, strict=True)],
            padding=size > 1,
            truncation=True,
            max_length=cut_at,
            return_tensors="pt",
        )
        _require_tokens(encoded, rows)
        return encoded

    return read_tokens, size


def _require_tokens(encoded: BatchEncoding, rows: LocatedLines) -> None:
    """Refuse a line without tokens, which only tokenizers that add none of their own make."""
    counts = encoded["attention_mask"].sum(1).tolist()
    for (_, where), count in zip(rows, counts, strict=True):
        if not count:
            raise DataError(
                f"{where}: the model has no token for it; remove the line or fill it in"
            )


def _read_pixels(rows: LocatedLines, processor: BaseImageProcessor) -> BatchFeature:
    images = []
    for line, where in rows:
        # A path may end in a blank, so only the line's end is removed.
        path = line.removesuffix("\n").removesuffix("\r")
        try:
            with Image.open(path) as image:
                images.append(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, UnidentifiedImageError):
            raise DataError(f"{where}: a line must be the path of an image, got {path!r}") from None
    return processor(images, return_tensors="pt")


def _format_labels(logits: Tensor, labels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for probabilities in logits.sigmoid().tolist():
        named = zip(labels, probabilities, strict=True)
        yield tuple(text for name, p in named if p > 0.5 for text in (name, f"{p:.4f}"))


def _format_answers(
    logits: Tensor, labels: Sequence[str], threshold: float
) -> Iterator[tuple[str, ...]]:
    if not labels:
        yield from ((f"{score:.4f}",) for score in logits.squeeze(1).tolist())
        return
    # Only two classes have a threshold.
    is_second = logits[:, -1] - logits[:, 0] > threshold
    classes = is_second.long() if len(labels) == 2 else logits.argmax(1)
    probabilities = logits.softmax(1).gather(1, classes[:, None]).squeeze(1)
    for label, probability in zip(classes.tolist(), probabilities.tolist(), strict=True):
        yield labels[label], f"{probability:.4f}"


def _iterate_decoded(lines: Iterable[str], origin: str) -> Iterator[str]:
    try:
        yield from lines
    # A text stream decodes while it is read, so the error comes out of the iteration.
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(
            f"{origin} must be UTF-8, got byte 0x{byte:02x}; save it as UTF-8"
        ) from None


def _split_texts(line: str, columns: Sequence[str], where: str) -> list[str]:
    # `strip` would also remove the TAB before or after an empty text of a pair.
    line = line.removesuffix("\n").removesuffix("\r")
    # An empty line is of empty texts, so that there is an answer for every line.
    texts = line.split("\t") if line else [""] * len(columns)
    if len(texts) != len(columns):
        raise DataError(
            f"{where}: a line must have {len(columns)} text(s) ({', '.join(columns)}), a TAB "
            f"between two, got {len(texts)}"
        )
    return texts
