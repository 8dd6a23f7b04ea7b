"""Find the parameters that train beside an adapter: those of the task head."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from allocator.errors import ModelError

ADAPTER = "allocator"
"""Name under which an attached adapter is a submodule of its model."""


def find_head_parameters(
    model: PreTrainedModel, *, trains_pooler: bool, trains_lm_head: bool = False
) -> dict[str, nn.Parameter]:
    """Find the trained parameters of a model's head, by their names in the model.

    They are all parameters outside of the backbone, and those of the pooler, which is a submodule
    of the backbone but is read only by the head. The pooler should train if the checkpoint lacks
    parts of the head, because it was then trained for another purpose. A complete head keeps the
    pooler that it was trained with.

    Args:
        model: A model with a head, or a backbone without one.
        trains_pooler: Whether the pooler trains, if there is one.
        trains_lm_head: Whether a language-modelling head trains.

    Returns:
        The parameters by name; none for a backbone without a head, or if the head is for language
        modelling and does not train.

    Raises:
        ModelError: If a language-modelling head should train, but shares its weights with the
            embeddings.
    """
    # Only a language-modelling head has output embeddings: one output for each word.
    words = model.get_output_embeddings()
    # A backbone without a head is its own `base_model`.
    if model.base_model is model or (words is not None and not trains_lm_head):
        return {}
    if words is not None and words.weight is model.get_input_embeddings().weight:
        raise ModelError(
            f"the head of {type(model).__name__} cannot train: it shares its weights with the "
            "embeddings, which stay frozen"
        )
    backbone = f"{model.base_model_prefix}."
    outside = (backbone, f"{ADAPTER}.")
    pooler = f"{backbone}pooler."
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if not name.startswith(outside) or (trains_pooler and name.startswith(pooler))
    }


def list_parent_modules(names: Iterable[str]) -> list[str]:
    """List the modules that own the named parameters, without repetition."""
    return sorted({name.rpartition(".")[0] for name in names})
