"""What turns texts into a model's inputs: its tokenizer."""

from __future__ import annotations

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from allocator.errors import ModelError
from allocator.training.models import ModelSource

_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer.

    Raises:
        ModelError: If it is missing or cannot be read.
    """
    # Without its files transformers makes up a tokenizer that knows no words.
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
