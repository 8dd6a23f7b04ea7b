"""Load a model's tokenizer or image processor, which makes its inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedTokenizerBase,
)

from allocator.errors import ModelError
from allocator.models.model_source import ModelSource

_PROCESSOR_FILE = "preprocessor_config.json"

_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer.

    Raises:
        ModelError: If it is missing or cannot be read.
    """
    # Without these files transformers returns a tokenizer with an empty vocabulary, not an error.
    if not any(any(source.folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise ModelError(
            f"model {source.name!r} has no tokenizer: {source.folder} holds none of "
            f"{', '.join(_TOKENIZER_FILES)}"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
    except Exception as problem:  # noqa: BLE001  # a tokenizer's own code may raise anything
        reason = str(problem).strip() or type(problem).__name__
        raise ModelError(
            f"model {source.name!r} has no usable tokenizer: {reason.splitlines()[0]}"
        ) from None
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def load_image_processor(source: ModelSource) -> BaseImageProcessor:
    """Load a model's image processor.

    Raises:
        ModelError: If it is missing, cannot be read, or does not bring all images to one size.
    """
    if not (source.folder / _PROCESSOR_FILE).is_file():
        raise ModelError(
            f"model {source.name!r} has no image processor: "
            f"{source.folder} holds no {_PROCESSOR_FILE}"
        )
    try:
        # The other backend needs torchvision.
        processor = AutoImageProcessor.from_pretrained(source.folder, backend="pil")
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise ModelError(f"model {source.name!r} has no usable image processor: {reason}") from None
    assert isinstance(processor, BaseImageProcessor)
    # The images of a split are stacked into one tensor.
    shapes = [
        prepare_image(Image.new("RGB", size), processor).shape for size in ((64, 48), (48, 64))
    ]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"model {source.name!r} must bring all images to one size, got {shapes[0]} and "
            f"{shapes[1]} for a wide and a tall one; set do_center_crop in its {_PROCESSOR_FILE}"
        )
    return processor


def prepare_image(image: Image.Image, processor: BaseImageProcessor) -> npt.NDArray[np.uint8]:
    """Resize and crop an image without normalising it: bytes of shape (C, H, W)."""
    processed = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")
    # Without rescaling, values stay in 0 to 255.
    pixels: npt.NDArray[np.uint8] = processed["pixel_values"][0].astype(np.uint8)
    return pixels
