"""Images in memory as bytes, and batches of them that are normalised when they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers import BaseImageProcessor

from allocator.data.tasks import Examples
from allocator.models.preprocessors import prepare_image

# Shapes: N images of a split, B of a batch, C channels, H height, W width


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSplit:
    """One split of a task of images, all of one size, a byte a number.

    Attributes:
        pixels_NCHW: The images, on the device that trains: 150 KB each at 224 x 224.
        scale_C11: What a byte is multiplied by to normalise it.
        offset_C11: What is added then.
        labels: Shape (examples,): class ids.
    """

    pixels_NCHW: Tensor
    scale_C11: Tensor
    offset_C11: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """All images cost the same."""
        return np.ones(len(self), dtype=np.int64)

    def make_batch(self, indices: Sequence[int], device: torch.device) -> ImageBatch:
        """Point at some images."""
        rows = torch.tensor(indices)
        return ImageBatch(
            split=self,
            rows=rows.to(self.pixels_NCHW.device),
            labels=self.labels[rows].to(device),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageBatch:
    """Some images of a split.

    Attributes:
        split: The split.
        rows: Shape (batch,): which they are.
        labels: Shape (batch,): their class ids.
    """

    split: ImageSplit
    rows: Tensor
    labels: Tensor

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Copy and normalise the images, now: a whole epoch would take five times the memory."""
        pixels_BCHW = self.split.pixels_NCHW[self.rows].float()
        return {"pixel_values": pixels_BCHW * self.split.scale_C11 + self.split.offset_C11}


def decode_images(
    examples: Examples, processor: BaseImageProcessor, device: torch.device
) -> ImageSplit:
    """Read the images of a split, on all processors of the machine.

    Args:
        examples: The split; the path of a readable image an example.
        processor: The model's image processor.
        device: Where the images are kept.
    """
    paths = [path for (path,) in examples.inputs]
    with ThreadPoolExecutor() as threads:
        images = list(threads.map(partial(_read, processor=processor), paths))
    scale_C11, offset_C11 = _normalization(processor)
    return ImageSplit(
        pixels_NCHW=torch.from_numpy(np.stack(images)).to(device),
        scale_C11=scale_C11.to(device),
        offset_C11=offset_C11.to(device),
        labels=torch.tensor(examples.labels),
    )


def _normalization(processor: BaseImageProcessor) -> tuple[Tensor, Tensor]:
    """Find out what a processor makes of bytes: a multiple and an offset, each (C, 1, 1)."""
    black_C11, white_C11 = (
        _center(processor(Image.new("RGB", (64, 64), color), return_tensors="pt"))
        for color in ("black", "white")
    )
    return (white_C11 - black_C11) / 255, black_C11


def _center(found: Mapping[str, Tensor]) -> Tensor:
    image_CHW = found["pixel_values"][0]
    height, width = image_CHW.shape[1:]
    return image_CHW[:, height // 2, width // 2].view(-1, 1, 1)


def _read(path: str, processor: BaseImageProcessor) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return prepare_image(ImageOps.exif_transpose(image).convert("RGB"), processor)
