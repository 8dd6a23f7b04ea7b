"""Read a model's configuration."""

from __future__ import annotations

from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, AutoConfig, PretrainedConfig
from transformers.utils import logging as transformers_logging

from allocator.errors import ModelError
from allocator.models.model_source import ModelSource


def read_config(source: ModelSource) -> PretrainedConfig:
    """Read a model's configuration.

    Raises:
        ModelError: If it is missing, or of a kind that transformers does not know.
    """
    try:
        config = AutoConfig.from_pretrained(source.folder)
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise ModelError(f"model {source.name!r} has no usable config.json: {reason}") from None
    assert isinstance(config, PretrainedConfig)
    return config


def silence_loading() -> None:
    """Turn off the progress bars and tables that transformers prints while it loads models."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def reads_images(source: ModelSource) -> bool:
    """Whether a model reads images, not texts.

    Raises:
        ModelError: If the model has no usable configuration.
    """
    # Models of texts and images, such as CLIP, are among these and count as models of images.
    return type(read_config(source)) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
