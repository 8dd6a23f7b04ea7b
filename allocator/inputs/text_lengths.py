"""How long the texts of a task are for a model, and what is cut of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from allocator.data.tasks import Examples
from allocator.models.model_config import read_config
from allocator.models.model_source import ModelSource
from allocator.models.preprocessors import load_tokenizer

_SAMPLE = 2_000  # examples that are tokenized whole, evenly spread over the split
_MOST = 0.5  # fraction of the examples from which on another length is proposed
_UNKNOWN = 1_000_000  # tokenizers that know no limit have a larger number for it
# Their positions begin behind that of padding, which counts among the rows of the embedding.
_SHIFTED = (
    *("camembert", "data2vec-text", "esm", "longformer", "mpnet", "roberta"),
    *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)


def find_longest_text(source: ModelSource) -> int | None:
    """Return the number of tokens that a model can read, or None if nothing limits it."""
    config = read_config(source).get_text_config()
    rows: int | None = getattr(config, "max_position_embeddings", None)
    if not getattr(config, "position_biased_input", True):  # DeBERTa's positions are relative
        return None
    if rows is None or config.model_type not in _SHIFTED:
        return rows
    return rows - (config.pad_token_id or 0) - 1


def limit_length(source: ModelSource, max_length: int) -> int:
    """Return the tokens after which a text is cut: as asked for, or as many as the model reads."""
    longest = find_longest_text(source)
    return max_length if longest is None else min(max_length, longest)


def describe_cuts(source: ModelSource, examples: Examples, *, max_length: int) -> str | None:
    """Describe how many texts are cut and by how much, and propose a length if most are.

    Args:
        source: A model that reads texts.
        examples: The split that it trains on, of which up to 2,000 examples are looked at.
        max_length: Tokens after which a text is to be cut.

    Returns:
        A sentence, or None if nothing is cut.
    """
    max_length = limit_length(source, max_length)
    tokenizer = load_tokenizer(source)
    lengths = _count_tokens(examples, tokenizer)
    cut = lengths > max_length
    if not cut.any():
        return None
    lost = lengths[cut] - max_length
    sentence = (
        f"{_write_share(cut)} of the texts have more than {max_length:,} tokens and are cut (see "
        f"--max-length); these lose {np.median(lost):,.0f} tokens in the median, {lost.max():,} at "
        "most"
    )
    longest = min(find_longest_text(source) or _UNKNOWN, tokenizer.model_max_length)
    if cut.mean() < _MOST or not max_length < longest < _UNKNOWN:
        return sentence
    # Time grows with the length, so no more than the longest text is proposed.
    proposed = min(longest, int(lengths.max()))
    return (
        f"{sentence}; --max-length {proposed} would cut {_write_share(lengths > proposed)}, and "
        f"take longer"
    )


def _count_tokens(examples: Examples, tokenizer: PreTrainedTokenizerBase) -> npt.NDArray[np.int64]:
    places = np.unique(np.linspace(0, len(examples) - 1, _SAMPLE).round().astype(int))
    sample = examples.select(places.tolist()).inputs
    columns = [list(column) for column in zip(*sample, strict=True)]
    # Not verbose, or it would warn of every text that is longer than its model reads.
    encoded = tokenizer(*columns, truncation=False, verbose=False)
    return np.array([len(ids) for ids in encoded["input_ids"]])


def _write_share(chosen: npt.NDArray[np.bool_]) -> str:
    """Write the share of the examples that are chosen, which is not rounded to none or all."""
    if not chosen.any():
        return "none"
    if chosen.all():
        return "all"
    percent = float(np.clip(round(100 * chosen.mean()), 1, 99))
    return f"{percent:.0f}%"
