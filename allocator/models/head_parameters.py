"""What of a model trains beside an adapter: its task head."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from allocator.errors import ModelError

ADAPTER = "allocator"
"""Name of the submodule that an attached adapter is."""


def find_head_parameters(
    model: PreTrainedModel, *, trains_pooler: bool, trains_lm_head: bool = False
) -> dict[str, nn.Parameter]:
    """Find the parameters of a model's head that train, by their names in the model.

    That is all that lies outside of the backbone. The pooler, which belongs to the backbone but is
    read by the head alone, trains where the head starts anew: a checkpoint that lacks some of the
    head has a pooler that was made for something else. A head that is complete goes on with the
    pooler that it was trained with.

    Args:
        model: A model with a head, or a bare backbone, which has none.
        trains_pooler: Whether the pooler trains.
        trains_lm_head: Whether the whole head of a model that predicts words trains.

    Raises:
        ModelError: If such a head is to train, but shares its weights with the embeddings.
    """
    words = model.get_output_embeddings()
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
    """Name the modules that hold some parameters directly, each once."""
    return sorted({name.rpartition(".")[0] for name in names})
