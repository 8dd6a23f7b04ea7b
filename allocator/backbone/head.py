"""The task head of a model, separated from the backbone so that every trial has its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from allocator.backbone.output_layers import find_output_layers
from allocator.config import Calibration
from allocator.errors import ModelError
from allocator.models.head_parameters import find_head_parameters


class HiddenStates(nn.Module):
    """A replacement for a model's backbone that returns hidden states computed before.

    Args:
        pooler: The backbone's pooler; None if it has none.
        activation: Activation that the backbone applies after its pooler if that is a single linear
            layer, as in ALBERT.

    Attributes:
        hidden: Hidden states of shape (batch, tokens, width); the head sets them before a call.
    """

    def __init__(self, pooler: nn.Module | None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.pooler, self.activation = pooler, activation
        self.hidden: Tensor | None = None

    def forward(self, *_: object, **__: object) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """Return the hidden states in the output class of a backbone, ignoring all arguments."""
        assert self.hidden is not None  # the head sets it before it calls the model
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=self.hidden,
            pooler_output=self._pool(self.hidden),
        )

    def _pool(self, hidden: Tensor) -> Tensor | None:
        if self.pooler is None:
            return None
        if self.activation is not None:
            # ALBERT's backbone selects the first token; other poolers do so themselves.
            activated: Tensor = self.activation(self.pooler(hidden[:, 0]))
            return activated
        pooled: Tensor = self.pooler(hidden)
        return pooled


class Head(nn.Module):
    """The head of a classification model, in float32, on given hidden states.

    `find_head_parameters` decides which of its parameters train.

    Args:
        model: A classification model whose backbone is a `HiddenStates`.
        fresh: Names of the parameters that the checkpoint lacked.
        trains_pooler: Whether the pooler trains with the head; None to train it if the checkpoint
            lacked any of the head's parameters.

    Raises:
        ModelError: If no linear layer makes its logits.
    """

    def __init__(
        self, model: PreTrainedModel, fresh: frozenset[str], trains_pooler: bool | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.fresh = fresh
        self.trains_pooler = bool(fresh) if trains_pooler is None else trains_pooler
        model.requires_grad_(False)
        for parameter in find_head_parameters(model, trains_pooler=self.trains_pooler).values():
            parameter.requires_grad_(True)
        # Here, so that a head that cannot be calibrated is refused before it trains.
        self._output_layers = tuple(find_output_layers(model))
        # A head for sequences reads the last token that is not padding, and finds it by the padding
        # token of the configuration. If there is none, `_select_ids` returns a mask instead.
        self._has_padding_token = getattr(model.config, "pad_token_id", None) is not None
        if not self._has_padding_token:
            model.config = copy.copy(model.config)  # the backbone shares it
            model.config.pad_token_id = 0  # the value of padding in a mask

    def forward(self, hidden: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute logits from hidden states.

        Args:
            hidden: Shape (batch, tokens, width).
            inputs: Inputs of the backbone, each of shape (batch, ...). A head may look for the last
                token that is not padding, or average over all that are not.

        Returns:
            Shape (batch, labels).
        """
        stand_in = self.model.base_model
        assert isinstance(stand_in, HiddenStates)
        stand_in.hidden = hidden.float()
        arguments = {self.model.main_input_name: self._select_ids(hidden, inputs)}
        if "attention_mask" in inputs:
            arguments["attention_mask"] = inputs["attention_mask"]
        logits = self.model(**arguments).logits
        stand_in.hidden = None  # otherwise the memory of the whole forward pass would be kept
        assert isinstance(logits, Tensor)
        return logits

    def _select_ids(self, hidden: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Select the ids in which a head finds the last token, shape (batch, tokens).

        If there is no padding token, the mask replaces the token ids: 1 for a token and 0 for
        padding.
        """
        if self._has_padding_token and "input_ids" in inputs:
            return inputs["input_ids"]
        ones = hidden.new_ones(hidden.shape[:2], dtype=torch.long)
        return inputs.get("attention_mask", ones)

    def copy_with_fresh_parameters(self, seed: int) -> Head:
        """Copy the head and initialise the parameters that the checkpoint lacked from `seed`."""
        head = copy.deepcopy(self)
        # transformers initialises from torch's global generator, whose state is restored
        # afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, module in head.model.named_modules():
                own = [f"{name}.{p}" for p, _ in module.named_parameters(recurse=False)]
                if own and all(parameter in self.fresh for parameter in own):
                    head.model._init_weights(module)
        return head

    def trained_state_dict(self) -> dict[str, Tensor]:
        """Return the parameters that train, by their names in the model."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}

    def load_trained_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load values that `trained_state_dict` of a similar head returned."""
        self.model.load_state_dict(self.model.state_dict() | dict(state))

    @torch.no_grad()
    def fold_calibration(self, calibration: Calibration) -> None:
        """Fold a calibration into the last linear layer, so that the logits come out calibrated.

        Args:
            calibration: The calibration. It can have an intercept only if `has_bias`.

        Raises:
            ModelError: If it has an intercept, and the layer has no bias to take it.
        """
        if calibration.intercept and not self.has_bias:
            raise ModelError(
                f"the head of {type(self.model).__name__} has no bias, so the calibration's "
                f"intercept must be 0, got {calibration.intercept}"
            )
        for layer in self._list_output_layers():
            layer.weight.mul_(calibration.scale)
            if layer.bias is not None:
                layer.bias.mul_(calibration.scale).add_(calibration.intercept)

    @property
    def has_bias(self) -> bool:
        """Whether the last linear layer has a bias; heads of decoders have none."""
        return all(layer.bias is not None for layer in self._list_output_layers())

    def _list_output_layers(self) -> list[nn.Linear]:
        # By name, because a copy has layers of its own.
        layers = [self.model.get_submodule(name) for name in self._output_layers]
        return [layer for layer in layers if isinstance(layer, nn.Linear)]

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def split_off_head(
    model: PreTrainedModel, missing: frozenset[str], *, trains_pooler: bool | None = None
) -> tuple[PreTrainedModel, Head]:
    """Split a classification model into its backbone and its head; a pooler goes with the head.

    Args:
        model: The classification model. It becomes the head, so it cannot be used by itself
            afterwards.
        missing: Names of its parameters that the checkpoint lacked.
        trains_pooler: As for `Head`.

    Returns:
        The backbone without a pooler, and the head.
    """
    backbone = model.base_model
    assert isinstance(backbone, PreTrainedModel)
    pooler = getattr(backbone, "pooler", None)
    if pooler is not None:
        setattr(backbone, "pooler", None)  # noqa: B010  # a plain assignment must be a module
    activation = getattr(backbone, "pooler_activation", None) if pooler is not None else None
    setattr(model, model.base_model_prefix, HiddenStates(pooler, activation))
    return backbone, Head(model, missing, trains_pooler)
