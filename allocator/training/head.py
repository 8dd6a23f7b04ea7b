"""The task head of a model, apart from its backbone, so that every trial can have its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions


class HiddenStates(nn.Module):
    """Stands in a model where its backbone was, and hands on hidden states computed before.

    Args:
        pooler: The backbone's pooler, where it has one.
    """

    def __init__(self, pooler: nn.Module | None) -> None:
        super().__init__()
        self.pooler = pooler
        self.hidden: Tensor | None = None

    def forward(self, *_: object, **__: object) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """Answer as a backbone would, an encoder or a decoder, whatever it was asked."""
        assert self.hidden is not None  # the head sets it before it calls the model
        pooled = self.pooler(self.hidden) if self.pooler is not None else None
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=self.hidden,
            pooler_output=pooled,
        )


class Head(nn.Module):
    """The head of a classification model, in float32, on given hidden states.

    It trains as a whole; a pooler trains where the checkpoint lacked some of the head, which then
    starts from it anew.

    Args:
        model: A classification model whose backbone is a `HiddenStates`.
        fresh: Names of the parameters that the checkpoint lacked.
    """

    def __init__(self, model: PreTrainedModel, fresh: frozenset[str]) -> None:
        super().__init__()
        self.model = model
        self.fresh = fresh
        stand_in = model.base_model
        assert isinstance(stand_in, HiddenStates)
        model.requires_grad_(True)
        stand_in.requires_grad_(bool(fresh))
        # A decoder's head looks in the token ids for the last one that is no padding. The mask
        # takes their place: 1 for a token, 0 for padding.
        model.config = copy.copy(model.config)
        model.config.pad_token_id = 0

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Classify sentences by their hidden states.

        Args:
            hidden: Shape (batch, tokens, width).
            mask: Shape (batch, tokens), 0 where a token is padding; None where none is.

        Returns:
            Logits of shape (batch, labels).
        """
        stand_in = self.model.base_model
        assert isinstance(stand_in, HiddenStates)
        stand_in.hidden = hidden.float()
        ids = hidden.new_ones(hidden.shape[:2], dtype=torch.long) if mask is None else mask
        logits = self.model(**{self.model.main_input_name: ids}).logits
        stand_in.hidden = None
        assert isinstance(logits, Tensor)
        return logits

    def copy_fresh(self, seed: int) -> Head:
        """Copy the head, drawing anew the parameters that the checkpoint lacked."""
        head = copy.deepcopy(self)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, module in head.model.named_modules():
                own = [f"{name}.{p}" for p, _ in module.named_parameters(recurse=False)]
                if own and all(parameter in self.fresh for parameter in own):
                    head.model._init_weights(module)
        return head

    def trained_state(self) -> dict[str, Tensor]:
        """Give the trained parameters by name."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}

    def load_trained(self, state: Mapping[str, Tensor]) -> None:
        """Take over the values that `trained_state` gave, of a head like this one."""
        self.model.load_state_dict(self.model.state_dict() | dict(state))

    @property
    def num_parameters(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def split_head(model: PreTrainedModel, missing: set[str]) -> tuple[PreTrainedModel, Head]:
    """Take a classification model apart.

    A pooler goes with the head.

    Args:
        model: The classification model; it becomes the head and cannot be used by itself.
        missing: Names of its parameters that the checkpoint lacked.

    Returns:
        The backbone, without a pooler, and the head.
    """
    backbone = model.base_model
    assert isinstance(backbone, PreTrainedModel)
    pooler = getattr(backbone, "pooler", None)
    if pooler is not None:
        setattr(backbone, "pooler", None)  # noqa: B010  # a plain assignment must be a module
    setattr(model, model.base_model_prefix, HiddenStates(pooler))
    return backbone, Head(model, frozenset(missing))
