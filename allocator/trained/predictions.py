"""Predictions of a trained adapter for texts, pairs of texts or images, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from transformers import BaseImageProcessor, BatchEncoding, BatchFeature

from allocator.errors import DataError
from allocator.inputs.text_lengths import limit_length
from allocator.trained.prediction_files import ANSWER, PROBABILITY, PredictionInput, format_cell
from allocator.trained.trained_adapter import TrainedAdapter

_BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What an adapter predicts for one input.

    Attributes:
        answers: The name of a class, the most likely one or as the recipe's decision threshold
            says; of several labels each that is more likely than not; for regression, the score.
        probabilities: The probability of each answer; None for regression.
        has_several: Whether there may be any number of answers.
    """

    answers: tuple[str | float, ...]
    probabilities: tuple[float, ...] | None = None
    has_several: bool = False

    def as_fields(self) -> tuple[str, ...]:
        """Return every answer and its probability, for a line."""
        if self.probabilities is None:
            return tuple(map(format_cell, self.answers))
        pairs = zip(self.answers, self.probabilities, strict=True)
        return tuple(format_cell(field) for pair in pairs for field in pair)

    def as_columns(self) -> dict[str, object]:
        """Return it as columns of a table, which every prediction of a task has."""
        columns = {ANSWER: self.answers, PROBABILITY: self.probabilities}
        return {
            name: list(values) if self.has_several else values[0]
            for name, values in columns.items()
            if values is not None
        }


@torch.no_grad()
def predict(
    trained: TrainedAdapter, inputs: Iterable[PredictionInput]
) -> Iterator[tuple[PredictionInput, Prediction]]:
    """Predict the class or the score of every input, in their order.

    No more than a batch is held in memory.

    Args:
        trained: An adapter on its model.
        inputs: One text each, two for a task on pairs, or the path of an image.

    Yields:
        Every input with its prediction.

    Raises:
        DataError: If a path is that of no image, or the model has no token for a text. The batches
            before it are answered first.
    """
    task, model = trained.recipe.task, trained.attached.model
    threshold = trained.recipe.training.decision_threshold
    remaining = iter(inputs)
    read, size = _choose_reader(trained)
    while batch := list(islice(remaining, size)):
        logits = model(**read(batch).to(model.device)).logits.float()
        if task.is_multi_label:
            predictions = _list_labels(logits, task.labels)
        else:
            predictions = _decide(logits, task.labels, threshold)
        yield from zip(batch, predictions, strict=True)


def _choose_reader(
    trained: TrainedAdapter,
) -> tuple[Callable[[Sequence[PredictionInput]], BatchFeature | BatchEncoding], int]:
    """Return a function that makes the model's inputs of a batch, and the size of a batch."""
    preprocessor = trained.preprocessor
    if isinstance(preprocessor, BaseImageProcessor):
        return lambda batch: _read_pixels(batch, preprocessor), _BATCH_SIZE
    # Texts of different lengths make one batch only if they can be padded.
    size = 1 if preprocessor.pad_token_id is None else _BATCH_SIZE
    cut_at = limit_length(trained.source, trained.recipe.training.max_length)

    def read_tokens(batch: Sequence[PredictionInput]) -> BatchEncoding:
        encoded: BatchEncoding = preprocessor(
            *[list(column) for column in zip(*[asked.inputs for asked in batch], strict=True)],
            padding=size > 1,
            truncation=True,
            max_length=cut_at,
            return_tensors="pt",
        )
        _require_tokens(encoded, batch)
        return encoded

    return read_tokens, size


def _require_tokens(encoded: BatchEncoding, batch: Sequence[PredictionInput]) -> None:
    """Refuse an input without tokens, which only tokenizers that add none of their own make."""
    counts = encoded["attention_mask"].sum(1).tolist()
    for asked, count in zip(batch, counts, strict=True):
        if not count:
            raise DataError(
                f"{asked.where}: the model has no token for it; remove the line or fill it in"
            )


def _read_pixels(batch: Sequence[PredictionInput], processor: BaseImageProcessor) -> BatchFeature:
    images = []
    for asked in batch:
        (path,) = asked.inputs
        try:
            with Image.open(path) as image:
                images.append(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, UnidentifiedImageError):
            raise DataError(
                f"{asked.where}: a line must be the path of an image, got {path!r}"
            ) from None
    return processor(images, return_tensors="pt")


def _list_labels(logits: Tensor, labels: Sequence[str]) -> Iterator[Prediction]:
    for probabilities in logits.sigmoid().tolist():
        likely = [(n, p) for n, p in zip(labels, probabilities, strict=True) if p > 0.5]
        yield Prediction(
            answers=tuple(name for name, _ in likely),
            probabilities=tuple(_round(probability) for _, probability in likely),
            has_several=True,
        )


def _decide(logits: Tensor, labels: Sequence[str], threshold: float) -> Iterator[Prediction]:
    if not labels:
        for score in logits.squeeze(1).tolist():
            yield Prediction(answers=(_round(score),))
        return
    # Only two classes have a threshold.
    is_second = logits[:, -1] - logits[:, 0] > threshold
    classes = is_second.long() if len(labels) == 2 else logits.argmax(1)
    probabilities = logits.softmax(1).gather(1, classes[:, None]).squeeze(1)
    for label, probability in zip(classes.tolist(), probabilities.tolist(), strict=True):
        yield Prediction(answers=(labels[label],), probabilities=(_round(probability),))


def _round(number: float) -> float:
    return round(number, 4)  # as many digits as are shown
