"""Splits of images in memory as bytes, and batches that are normalised when they are read."""

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
    """One split of a task of images, all of the same size, with one byte for each value.

    Attributes:
        pixels_NCHW: The images, on the device that trains: 150 KB each at 224 x 224.
        scale_C11: Factor that normalises a byte, by channel.
        offset_C11: Offset added to the scaled byte, by channel.
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
        """Cost of every image: 1, because all cost the same."""
        return np.ones(len(self), dtype=np.int64)

    def make_batch(self, indices: Sequence[int], device: torch.device) -> ImageBatch:
        """Make a batch that refers to the images at `indices`; it copies none of them."""
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
        rows: Shape (batch,): indices of the images in the split.
        labels: Shape (batch,): class ids of the images.
    """

    split: ImageSplit
    rows: Tensor
    labels: Tensor

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """The images, copied and normalised at each access.

        The batches of an epoch exist at once. If they held normalised images, an epoch would take
        five times the memory: 4 bytes for each value besides the split's one.
        """
        pixels_BCHW = self.split.pixels_NCHW[self.rows].float()
        return {"pixel_values": pixels_BCHW * self.split.scale_C11 + self.split.offset_C11}


def decode_images(
    examples: Examples, processor: BaseImageProcessor, device: torch.device
) -> ImageSplit:
    """Read and resize the images of a split, in a thread for each processor of the machine.

    Args:
        examples: The split; each input is the path of a readable image.
        processor: The model's image processor.
        device: Device on which the images are kept.
    """
    paths = [path for (path,) in examples.inputs]
    # Threads are enough: Pillow decodes and resizes without holding Python's lock.
    with ThreadPoolExecutor() as threads:
        images = list(threads.map(partial(_read_image, processor=processor), paths))
    scale_C11, offset_C11 = _measure_normalization(processor)
    return ImageSplit(
        pixels_NCHW=torch.from_numpy(np.stack(images)).to(device),
        scale_C11=scale_C11.to(device),
        offset_C11=offset_C11.to(device),
        labels=torch.tensor(examples.labels),
    )


def _measure_normalization(processor: BaseImageProcessor) -> tuple[Tensor, Tensor]:
    """Measure how a processor normalises bytes.

    A black and a white image are processed, so the names of mean and deviation in its configuration
    do not matter.

    Returns:
        Scale and offset, each of shape (C, 1, 1).
    """
    black_C11, white_C11 = (
        _select_center(processor(Image.new("RGB", (64, 64), color), return_tensors="pt"))
        for color in ("black", "white")
    )
    # Normalised = scale x byte + offset: black, byte 0, shows the offset.
    return (white_C11 - black_C11) / 255, black_C11


def _select_center(processed: Mapping[str, Tensor]) -> Tensor:
    """Select the pixel in the middle, (C, 1, 1): borders may be padded."""
    image_CHW = processed["pixel_values"][0]
    height, width = image_CHW.shape[1:]
    return image_CHW[:, height // 2, width // 2].view(-1, 1, 1)


def _read_image(path: str, processor: BaseImageProcessor) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        # A camera may store a photograph as it was held, with a note to turn it.
        return prepare_image(ImageOps.exif_transpose(image).convert("RGB"), processor)
