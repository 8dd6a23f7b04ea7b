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
from allocator.trained.prediction_files import ANSWER, PROBABILITY, Asked
from allocator.trained.trained_adapter import TrainedAdapter

_BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What an adapter predicts for one input.

    Attributes:
        answer: The name of a class, the most likely one or as the recipe's decision threshold says;
            for regression, the score.
        probability: The probability of the class; None for regression.
    """

    answer: str
    probability: str | None

    def as_row(self) -> dict[str, str]:
        """Return it as the columns of a table."""
        row = {ANSWER: self.answer}
        return row if self.probability is None else {**row, PROBABILITY: self.probability}


@torch.no_grad()
def predict(trained: TrainedAdapter, inputs: Iterable[Asked]) -> Iterator[tuple[Asked, Prediction]]:
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
    labels, model = trained.recipe.task.labels, trained.attached.model
    threshold = trained.recipe.training.decision_threshold
    remaining = iter(inputs)
    read, size = _choose_reader(trained)
    while batch := list(islice(remaining, size)):
        logits = model(**read(batch).to(model.device)).logits.float()
        yield from zip(batch, _decide(logits, labels, threshold), strict=True)


def _choose_reader(
    trained: TrainedAdapter,
) -> tuple[Callable[[Sequence[Asked]], BatchFeature | BatchEncoding], int]:
    """Return a function that makes the model's inputs of a batch, and the size of a batch."""
    preprocessor = trained.preprocessor
    if isinstance(preprocessor, BaseImageProcessor):
        return lambda batch: _read_pixels(batch, preprocessor), _BATCH_SIZE
    # Texts of different lengths make one batch only if they can be padded.
    size = 1 if preprocessor.pad_token_id is None else _BATCH_SIZE
    cut_at = limit_length(trained.source, trained.recipe.training.max_length)

    def read_tokens(batch: Sequence[Asked]) -> BatchEncoding:
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


def _require_tokens(encoded: BatchEncoding, batch: Sequence[Asked]) -> None:
    """Refuse an input without tokens, which only tokenizers that add none of their own make."""
    counts = encoded["attention_mask"].sum(1).tolist()
    for asked, count in zip(batch, counts, strict=True):
        if not count:
            raise DataError(
                f"{asked.where}: the model has no token for it; remove the line or fill it in"
            )


def _read_pixels(batch: Sequence[Asked], processor: BaseImageProcessor) -> BatchFeature:
    images = []
    for asked in batch:
        (path,) = asked.inputs
        try:
            with Image.open(path) as image:
                images.append(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, UnidentifiedImageError):
            raise DataError(f"{asked.where}: must be the path of an image, got {path!r}") from None
    return processor(images, return_tensors="pt")


def _decide(logits: Tensor, labels: Sequence[str], threshold: float) -> Iterator[Prediction]:
    if not labels:
        for score in logits.squeeze(1).tolist():
            yield Prediction(answer=f"{score:.4f}", probability=None)
        return
    # Only two classes have a threshold.
    is_second = logits[:, -1] - logits[:, 0] > threshold
    classes = is_second.long() if len(labels) == 2 else logits.argmax(1)
    probabilities = logits.softmax(1).gather(1, classes[:, None]).squeeze(1)
    for label, probability in zip(classes.tolist(), probabilities.tolist(), strict=True):
        yield Prediction(answer=labels[label], probability=f"{probability:.4f}")
