"""The task head of a model, apart from its backbone, so that every trial can have its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from allocator.models.head_parameters import head_parameters


class HiddenStates(nn.Module):
    """Stands in a model where its backbone was, and hands on hidden states computed before.

    Args:
        pooler: The backbone's pooler, where it has one.
        activation: What the backbone applies behind a pooler that is one linear layer (ALBERT).
    """

    def __init__(self, pooler: nn.Module | None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.pooler, self.activation = pooler, activation
        self.hidden: Tensor | None = None

    def forward(self, *_: object, **__: object) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """Answer as a backbone would, an encoder or a decoder, whatever it was asked."""
        assert self.hidden is not None  # the head sets it before it calls the model
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=self.hidden,
            pooler_output=self._pool(self.hidden),
        )

    def _pool(self, hidden: Tensor) -> Tensor | None:
        if self.pooler is None:
            return None
        if self.activation is not None:
            activated: Tensor = self.activation(self.pooler(hidden[:, 0]))
            return activated
        pooled: Tensor = self.pooler(hidden)
        return pooled


class Head(nn.Module):
    """The head of a classification model, in float32, on given hidden states.

    What of it trains is what `head_parameters` says.

    Args:
        model: A classification model whose backbone is a `HiddenStates`.
        fresh: Names of the parameters that the checkpoint lacked.
        trains_pooler: Whether the pooler trains; None for where any are fresh.
    """

    def __init__(
        self, model: PreTrainedModel, fresh: frozenset[str], trains_pooler: bool | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.fresh = fresh
        self.trains_pooler = bool(fresh) if trains_pooler is None else trains_pooler
        model.requires_grad_(False)
        for parameter in head_parameters(model, trains_pooler=self.trains_pooler).values():
            parameter.requires_grad_(True)
        self._has_padding_token = getattr(model.config, "pad_token_id", None) is not None
        if not self._has_padding_token:
            model.config = copy.copy(model.config)
            model.config.pad_token_id = 0  # of what `_ids` gives

    def forward(self, hidden: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Classify examples by their hidden states.

        Args:
            hidden: Shape (batch, tokens, width).
            inputs: What the backbone read, each of shape (batch, ...): a head may look for the
                last token that is no padding, or average over those that are none.

        Returns:
            Logits of shape (batch, labels).
        """
        stand_in = self.model.base_model
        assert isinstance(stand_in, HiddenStates)
        stand_in.hidden = hidden.float()
        asked = {self.model.main_input_name: self._ids(hidden, inputs)}
        if "attention_mask" in inputs:
            asked["attention_mask"] = inputs["attention_mask"]
        logits = self.model(**asked).logits
        stand_in.hidden = None
        assert isinstance(logits, Tensor)
        return logits

    def _ids(self, hidden: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Make what a head looks for the last token in.

        Where no token stands for padding, the mask takes their place: 1 for a token, 0 for padding.
        """
        if self._has_padding_token and "input_ids" in inputs:
            return inputs["input_ids"]
        ones = hidden.new_ones(hidden.shape[:2], dtype=torch.long)
        return inputs.get("attention_mask", ones)

    def copy_with_fresh_parameters(self, seed: int) -> Head:
        """Copy the head, drawing anew the parameters that the checkpoint lacked."""
        head = copy.deepcopy(self)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, module in head.model.named_modules():
                own = [f"{name}.{p}" for p, _ in module.named_parameters(recurse=False)]
                if own and all(parameter in self.fresh for parameter in own):
                    head.model._init_weights(module)
        return head

    def trained_state_dict(self) -> dict[str, Tensor]:
        """Give the trained parameters by name."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}

    def load_trained_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the values that `trained_state_dict` gave, of a head like this one."""
        self.model.load_state_dict(self.model.state_dict() | dict(state))

    @property
    def num_parameters(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def split_off_head(
    model: PreTrainedModel, missing: frozenset[str], *, trains_pooler: bool | None = None
) -> tuple[PreTrainedModel, Head]:
    """Take a classification model apart.

    A pooler goes with the head.

    Args:
        model: The classification model; it becomes the head and cannot be used by itself.
        missing: Names of its parameters that the checkpoint lacked.
        trains_pooler: As for `Head`.

    Returns:
        The backbone, without a pooler, and the head.
    """
    backbone = model.base_model
    assert isinstance(backbone, PreTrainedModel)
    pooler = getattr(backbone, "pooler", None)
    if pooler is not None:
        setattr(backbone, "pooler", None)  # noqa: B010  # a plain assignment must be a module
    activation = getattr(backbone, "pooler_activation", None) if pooler is not None else None
    setattr(model, model.base_model_prefix, HiddenStates(pooler, activation))
    return backbone, Head(model, missing, trains_pooler)
