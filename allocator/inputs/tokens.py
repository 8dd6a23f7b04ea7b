"""Splits of texts as tokens, and padded batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from allocator.data.tasks import Examples


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenBatch:
    """Some texts, padded to the length of the longest.

    Attributes:
        inputs: Keyword arguments of the backbone, each of shape (batch, tokens); without
            `attention_mask` if nothing is padded.
        labels: Shape (batch,): class ids, or scores for regression; shape (batch, labels), of 0 and
            1, if an example may have several.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedSplit:
    """One split of a task of texts as tokens.

    Attributes:
        input_ids: Token ids of every example.
        token_type_ids: Segment of every token; None if all are 0.
        labels: Shape (examples,): class ids (int64), or scores (float32) for regression.
        pad: Token id and segment of padding.
    """

    input_ids: Sequence[Sequence[int]]
    token_type_ids: Sequence[Sequence[int]] | None
    labels: Tensor
    pad: tuple[int, int]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of every example."""
        return np.array([len(ids) for ids in self.input_ids])

    def make_batch(self, indices: Sequence[int], device: torch.device) -> TokenBatch:
        """Make a batch of the examples at `indices`, padded to the longest of them."""
        length = max(len(self.input_ids[i]) for i in indices)
        inputs = {"input_ids": self._pad_rows(self.input_ids, indices, length, self.pad[0])}
        if self.token_type_ids is not None:
            inputs["token_type_ids"] = self._pad_rows(
                self.token_type_ids, indices, length, self.pad[1]
            )
        # Without a mask, attention skips the masking step.
        if any(len(self.input_ids[i]) < length for i in indices):
            # From lengths, not from ids: a text may end in a token of the padding's id.
            lengths = torch.tensor([len(self.input_ids[i]) for i in indices])
            inputs["attention_mask"] = (torch.arange(length) < lengths[:, None]).long()
        return TokenBatch(
            inputs={name: values.to(device) for name, values in inputs.items()},
            labels=self.labels[list(indices)].to(device),
        )

    @staticmethod
    def _pad_rows(
        rows: Sequence[Sequence[int]], indices: Sequence[int], length: int, fill: int
    ) -> Tensor:
        return torch.tensor([[*rows[i], *[fill] * (length - len(rows[i]))] for i in indices])


def tokenize_examples(
    examples: Examples, tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> TokenizedSplit:
    """Tokenize the texts of a split.

    Args:
        examples: The split, with one or two texts for each example.
        tokenizer: The backbone's tokenizer.
        max_length: Tokens after which an example is cut.
    """
    columns = [list(column) for column in zip(*examples.inputs, strict=True)]
    encoded = tokenizer(*columns, truncation=True, max_length=max_length)
    segments = encoded.get("token_type_ids")
    if segments is not None and not any(map(any, segments)):
        segments = None  # all 0, which models assume by default
    is_regression = isinstance(examples.labels[0], float)
    return TokenizedSplit(
        input_ids=encoded["input_ids"],
        token_type_ids=segments,
        labels=torch.tensor(examples.labels, dtype=torch.float32 if is_regression else torch.int64),
        pad=(_choose_pad_id(tokenizer), tokenizer.pad_token_type_id),
    )


def _choose_pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Choose the token id of padding.

    If the tokenizer has none, that of the token that ends a text is used, or else id 0; the mask
    hides padding.
    """
    ids: tuple[int | None, ...] = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((i for i in ids if i is not None), 0)
